"""What a function or a block must not do: each mistake is told, and nothing is left half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors

from pgmoor import Retry, RetrySafety, retry_safety
from stepping import step
from support import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, FaultProxy

INSERT = "insert into work (id) values ('x')"


async def rows(cluster: Cluster) -> int:
    return len(await cluster[0].sql("select id from work"))


async def commits(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.commit()


async def rolls_back(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.rollback()


async def closes(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.close()


async def fails_silently(conn: Any) -> None:
    await conn.execute(INSERT)
    with pytest.raises(errors.UndefinedTable):
        await conn.execute("select from missing")


async def leaves_a_query_running(conn: Any) -> None:
    await conn.execute(INSERT)
    copy = conn.cursor().copy("copy work (id) from stdin")
    await copy.__aenter__()


async def leaves_a_pipeline_open(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.pipeline().__aenter__()


@pytest.mark.parametrize(
    ("mistake", "error", "text"),
    [
        (commits, psycopg.ProgrammingError, "don't call commit"),
        (rolls_back, psycopg.ProgrammingError, "don't call rollback"),
        (closes, psycopg.ProgrammingError, "don't call close"),
        (fails_silently, errors.InFailedSqlTransaction, "the transaction has failed"),
        (leaves_a_query_running, psycopg.ProgrammingError, "still running"),
        (leaves_a_pipeline_open, psycopg.ProgrammingError, "a pipeline is open"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("way", ["run", "transaction", "retrying"])
async def test_a_mistake_is_told_and_rolled_back(  # noqa: PLR0917  fixtures come by name
    way: str,
    mistake: Callable[[Any], Awaitable[None]],
    error: type[Exception],
    text: str,
    manager: Any,
    alone: Cluster,
) -> None:
    with pytest.raises(error, match=text):
        if way == "run":
            await manager.run(mistake)
        elif way == "transaction":
            async with manager.transaction() as conn:
                await mistake(conn)
        else:
            async for attempt in manager.retrying():
                async with attempt as conn:
                    await mistake(conn)
    assert await rows(alone) == 0
    async with manager.transaction() as conn:  # the pool has survived
        await conn.execute(INSERT)
    assert await rows(alone) == 1


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("then", ["nothing", "statement", "block"])
async def test_a_commit_as_a_statement_is_told(
    then: str, autocommit: bool, alone: Cluster, moor: Callable[..., Any]
) -> None:
    async def commit(conn: Any) -> None:
        await conn.execute(INSERT)
        await conn.execute("commit")
        if then == "statement":
            await conn.execute(INSERT)
        elif then == "block":
            async with conn.transaction():
                await conn.execute(INSERT)

    manager = await moor(*alone, kwargs={"autocommit": autocommit})
    with pytest.raises(psycopg.ProgrammingError, match="a statement has ended") as caught:
        await manager.run(commit)
    assert retry_safety(caught.value) is RetrySafety.UNKNOWN
    assert await rows(alone) == 1  # by its own commit, and nothing after it


async def test_one_inside_another_is_told(manager: Any, alone: Cluster) -> None:
    async def one(conn: Any) -> None:
        await conn.execute(INSERT)

    async def nested(conn: Any) -> None:
        await one(conn)
        await manager.run(one)

    with pytest.raises(RuntimeError, match="in a transaction of the same manager"):
        await manager.run(nested)
    with pytest.raises(RuntimeError, match="in a transaction of the same manager"):
        async with manager.transaction():
            await manager.run(one)
    with pytest.raises(RuntimeError, match="in a transaction of the same manager"):
        async with manager.transaction(), manager.transaction():
            pass
    assert await rows(alone) == 0
    await asyncio.gather(*(manager.run(one) for _ in range(3)))  # other tasks are others
    assert await rows(alone) == 3


async def test_a_savepoint_inside_is_fine(manager: Any, alone: Cluster) -> None:
    async def work(conn: Any) -> None:
        await conn.execute(INSERT)
        with pytest.raises(errors.UndefinedTable):
            async with conn.transaction():
                await conn.execute("select from missing")

    await manager.run(work)
    assert await rows(alone) == 1


async def test_rollback_of_psycopg_rolls_back_without_an_error(
    manager: ConnectionManager, alone: Cluster
) -> None:
    async with manager.transaction() as conn:
        await conn.execute(INSERT)
        raise psycopg.Rollback
    assert await rows(alone) == 0


async def test_a_block_of_transaction_is_never_repeated(manager: Any) -> None:
    times = 0
    with pytest.raises(errors.SerializationFailure):
        async with manager.transaction():
            times += 1
            raise errors.SerializationFailure
    assert times == 1
    block = manager.transaction()
    async with block:
        pass
    with pytest.raises(RuntimeError, match="for one block"):
        async with block:
            pass


# -- retrying() ------------------------------------------------------------------------------------


async def test_a_loop_is_repeated_until_one_attempt_has_committed(
    manager: ConnectionManager, door: FaultProxy, alone: Cluster
) -> None:
    numbers = []
    async for attempt in manager.retrying(timeout=10):
        async with attempt as conn:
            numbers.append(attempt.number)
            await conn.execute(INSERT)
            if len(numbers) == 1:
                raise errors.SerializationFailure
            if len(numbers) == 2:
                await conn.execute("select pg_terminate_backend(pg_backend_pid())")
            if len(numbers) == 3:
                door.lose_commits(delivered=True)
    assert numbers == [1, 2, 3]
    assert await rows(alone) == 1


async def test_an_error_of_the_last_attempt_of_a_loop_is_raised(manager: ConnectionManager) -> None:
    numbers = []
    with pytest.raises(errors.SerializationFailure):
        async for attempt in manager.retrying(retry=Retry(attempts=2)):
            async with attempt:
                numbers.append(attempt.number)
                raise errors.SerializationFailure
    assert numbers == [1, 2]


@pytest.mark.parametrize("end", ["return", "break", "continue", "nothing"])
async def test_however_a_block_has_ended_a_commit_that_failed_raises(
    end: str, manager: ConnectionManager, door: FaultProxy, alone: Cluster
) -> None:
    times = 0

    async def work(*, delivered: bool) -> str:
        nonlocal times
        async for attempt in manager.retrying():
            async with attempt as conn:
                times += 1
                await conn.execute(INSERT)
                door.lose_commits(delivered=delivered)
                if end == "return":
                    return "done"
                if end == "break":
                    break
                if end == "continue":
                    continue
        return "done"

    with pytest.raises(psycopg.OperationalError, match="rolled back") as caught:
        await work(delivered=False)
    assert retry_safety(caught.value) is RetrySafety.ROLLED_BACK
    assert await rows(alone) == 0
    assert await work(delivered=True) == "done"
    assert await rows(alone) == 1
    assert times == 2


async def test_a_loop_that_is_left_after_a_failed_attempt_is_told(
    manager: ConnectionManager, alone: Cluster
) -> None:
    async def follows() -> str:
        async for attempt in manager.retrying():
            async with attempt as conn:
                await conn.execute(INSERT)
                raise errors.SerializationFailure
            return "as if it had been done"
        return "never"

    with pytest.warns(RuntimeWarning, match="ended after a failed attempt"):
        await follows()
    assert await rows(alone) == 0


# -- cancellation ----------------------------------------------------------------------------------


async def at_rest(manager: Any) -> None:
    stats = manager.get_stats
    await until(lambda: stats()["pool_size"] - stats()["pool_available"] == 0)


@pytest.mark.parametrize("key", [None, True])
async def test_cancelled_at_every_await_it_happens_once_or_not_at_all(
    key: Any, manager: Any, alone: Cluster
) -> None:
    """Each turn cancels one suspension later, until the work is done before."""
    calls = 0

    async def work(conn: Any, name: str) -> str:
        nonlocal calls
        calls += 1
        await conn.execute("insert into work (id) values (%s)", [name])
        if calls % 2:
            raise errors.SerializationFailure  # so that the pause is cancelled, too
        return name

    at = 0
    while True:
        at += 1
        name = str(at)
        calls = 0
        retry = Retry(backoff_base=1e-3, backoff_cap=1e-3, budget=None)
        running = manager.run(work, name, key=key, retry=retry)
        task = asyncio.create_task(step(running, at))
        try:
            assert await task == name
        except asyncio.CancelledError:
            await at_rest(manager)
            ((number,),) = await alone[0].sql("select count(*) from work where id = %s", name)
            assert number <= 1
            continue
        break
    assert at > 6
    ((number,),) = await alone[0].sql("select count(*) from work where id = %s", name)
    assert number == 1


@pytest.mark.parametrize("delivered", [False, True])
async def test_cancelled_while_a_commit_is_resolved_it_ends_at_once(
    delivered: bool, alone: Cluster, door: FaultProxy, moor: Callable[..., Any]
) -> None:
    manager = await moor(door, min_size=1, max_size=1)

    async def work(conn: Any) -> None:
        await conn.execute(INSERT)
        door.lose_commits(delivered=delivered)
        door.refuse()

    task = asyncio.create_task(manager.run(work, timeout=30))
    await until(lambda: door.commits_lost == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    door.heal()
    await manager.wait_ready()
    async with manager.transaction() as conn:
        await conn.execute(INSERT)
    assert await rows(alone) == 1 + delivered
