"""`run()`: what is repeated, and what is not; each transaction happens once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel, errors

from pgmoor import (
    CommitOutcomeUnknown,
    ConfigError,
    NoHostAvailable,
    Retry,
    RetrySafety,
    TransactionTimeout,
    retry_safety,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy


async def rows(cluster: Cluster) -> list[str]:
    return [row[0] for row in await cluster[0].sql("select id from work order by id")]


async def insert(conn: Any, key: str = "x") -> str:
    await conn.execute("insert into work (id) values (%s)", [key])
    return f"wrote {key}"


class Counted:
    """Inserts a row; counts its calls, and does something in each of the first ones."""

    def __init__(self, *first: Callable[[Any], Any]) -> None:
        self.calls = 0
        self._first = first

    async def __call__(self, conn: Any, key: str = "x") -> str:
        self.calls += 1
        await insert(conn, key)
        if self.calls <= len(self._first):
            await self._first[self.calls - 1](conn)
        return f"call {self.calls}"


def raising(error: Exception) -> Callable[[Any], Any]:
    async def do(conn: Any) -> None:
        raise error

    return do


async def end_own_session(conn: Any) -> None:
    await conn.execute("select pg_terminate_backend(pg_backend_pid())")


async def test_a_transaction_is_carried_out_and_its_result_returned(
    manager: Any, alone: Cluster
) -> None:
    assert await manager.run(insert, "a") == "wrote a"
    assert await manager.run(partial(insert, key="b")) == "wrote b"
    assert await manager.run(lambda conn: insert(conn, "c")) == "wrote c"
    assert await rows(alone) == ["a", "b", "c"]


async def test_modes_reach_the_server_in_the_round_trip_of_begin(
    door: FaultProxy, moor: Callable[..., Any]
) -> None:
    manager = await moor(door, min_size=1, max_size=1, health_interval=60)

    async def modes(conn: Any) -> tuple[str, ...]:
        cursor = await conn.execute(
            "select current_setting('transaction_isolation'),"
            " current_setting('transaction_read_only'), current_setting('transaction_deferrable')"
        )
        found: tuple[str, ...] = await cursor.fetchone()
        return found

    assert await manager.run(modes) == ("read committed", "off", "off")
    level = IsolationLevel.SERIALIZABLE
    settings = {"isolation": level, "readonly": True, "deferrable": True}
    fewest = 100
    for _ in range(5):  # a probe may come between
        before = door.round_trips
        assert await manager.run(modes, **settings) == ("serializable", "on", "on")
        fewest = min(fewest, door.round_trips - before)
    assert fewest == 3  # BEGIN, the statement, COMMIT
    assert await manager.run(modes, isolation="repeatable read") == (
        "repeatable read",
        "off",
        "off",
    )


@pytest.mark.parametrize("key", [None, True])
@pytest.mark.parametrize("autocommit", [False, True])
async def test_a_transaction_takes_no_further_round_trip(
    key: Any, autocommit: bool, door: FaultProxy, moor: Callable[..., Any], alone: Cluster
) -> None:
    calm = {"min_size": 1, "max_size": 1, "health_interval": 60}  # no probe comes between
    manager = await moor(door, kwargs={"autocommit": autocommit}, **calm)
    await manager.install()
    fewest = [100, 100]
    for _ in range(5):  # a probe may come between
        await manager.drain()
        async with manager.connection():
            pass  # a new connection was made
        for use in range(2):  # the first on a connection asks more, in the same round trip
            before = door.round_trips
            await manager.run(insert, key=key)
            fewest[use] = min(fewest[use], door.round_trips - before)
    assert fewest == [3, 3]
    assert await rows(alone) == ["x"] * 10


@pytest.mark.parametrize(
    "error", [errors.SerializationFailure(), errors.DeadlockDetected()], ids=["40001", "40P01"]
)
async def test_a_conflict_is_repeated_as_a_whole(
    error: Exception, manager: Any, alone: Cluster
) -> None:
    work = Counted(raising(error), raising(error))
    assert await manager.run(work) == "call 3"
    assert await rows(alone) == ["x"]


async def test_real_conflicts_of_serializable_transactions_are_repeated(
    manager: Any, alone: Cluster
) -> None:
    await alone[0].sql("create table if not exists count (n int)")
    await alone[0].sql("truncate count")
    await alone[0].sql("insert into count values (0)")

    async def add(conn: Any) -> None:
        (n,) = await (await conn.execute("select n from count")).fetchone()
        await conn.execute("update count set n = %s", [n + 1])

    level = IsolationLevel.SERIALIZABLE
    await asyncio.gather(*(manager.run(add, isolation=level) for _ in range(20)))
    assert await alone[0].sql("select n from count") == [(20,)]


async def test_a_lock_that_is_not_available_is_repeated_on_request(manager: Any) -> None:
    work = Counted(raising(errors.LockNotAvailable()))
    with pytest.raises(errors.LockNotAvailable):
        await manager.run(work)
    work = Counted(raising(errors.LockNotAvailable()))
    assert await manager.run(work, retry=Retry(lock_not_available=True)) == "call 2"


async def test_a_connection_that_is_lost_before_commit_is_repeated(
    manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    async def reset(conn: Any) -> None:
        door.reset()

    async def swallow(conn: Any) -> None:
        with pytest.raises(psycopg.OperationalError):
            await end_own_session(conn)

    work = Counted(end_own_session, reset, swallow)
    assert await manager.run(work) == "call 4"
    assert await rows(alone) == ["x"]


@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), errors.UniqueViolation(), errors.QueryCanceled(), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
async def test_any_other_error_is_raised_as_it_is_and_rolls_back(
    error: Exception, manager: Any, alone: Cluster
) -> None:
    work = Counted(raising(error))
    with pytest.raises(type(error)) as caught:
        await manager.run(work)
    assert caught.value is error
    assert work.calls == 1
    assert await rows(alone) == []


async def test_an_error_of_the_program_is_not_repeated_because_the_connection_is_lost_too(
    manager: Any,
) -> None:
    async def lose_and_raise(conn: Any) -> None:
        with pytest.raises(psycopg.OperationalError):
            await end_own_session(conn)
        raise ValueError("mine")

    work = Counted(lose_and_raise)
    with pytest.raises(ValueError, match="mine"):
        await manager.run(work)
    assert work.calls == 1


async def test_repeats_end_with_the_last_error(manager: Any, alone: Cluster) -> None:
    work = Counted(*[raising(errors.SerializationFailure())] * 9)
    with pytest.raises(errors.SerializationFailure):
        await manager.run(work, retry=Retry(attempts=3))
    assert work.calls == 3

    work = Counted(*[raising(errors.SerializationFailure())] * 1000)
    with pytest.raises((errors.SerializationFailure, TransactionTimeout)) as caught:
        await manager.run(work, timeout=0.3, retry=Retry(backoff_base=0.05))
    ended = caught.value  # the time may be up in the midst of an attempt, too
    last = ended.__cause__ if isinstance(ended, TransactionTimeout) else ended
    assert isinstance(last, errors.SerializationFailure)
    assert await rows(alone) == []


async def test_the_budget_ends_a_storm_of_repeats_and_successes_fill_it(manager: Any) -> None:
    work = Counted(*[raising(errors.SerializationFailure())] * 1000)
    with pytest.raises(errors.SerializationFailure):
        await manager.run(work, retry=Retry(backoff_base=1e-4, backoff_cap=1e-4))
    assert work.calls == 101

    again = Counted(raising(errors.SerializationFailure()))
    with pytest.raises(errors.SerializationFailure):
        await manager.run(again)
    again = Counted(raising(errors.SerializationFailure()))
    assert await manager.run(again, retry=Retry(budget=None)) == "call 2"

    for number in range(10):
        await manager.run(insert, str(number))
    again = Counted(raising(errors.SerializationFailure()))
    assert await manager.run(again) == "call 2"


async def test_the_timeout_covers_work_and_rolls_back(manager: Any, alone: Cluster) -> None:
    async def sleep(conn: Any) -> None:
        await insert(conn)
        await conn.execute("select pg_sleep(60)")

    with pytest.raises(TransactionTimeout, match=r"within 0\.3 s") as caught:
        await manager.run(sleep, timeout=0.3)
    assert retry_safety(caught.value) is RetrySafety.ROLLED_BACK
    assert await rows(alone) == []
    await manager.run(insert)  # the connection has survived


async def test_a_block_of_transaction_has_no_limit_unless_one_is_given(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, timeout=0.2)
    async with manager.transaction() as conn:
        await insert(conn, "a")
        await conn.execute("select pg_sleep(0.4)")
    with pytest.raises(TransactionTimeout):
        async with manager.transaction(timeout=0.2) as conn:
            await insert(conn, "b")
            await conn.execute("select pg_sleep(60)")
    assert await rows(alone) == ["a"]


async def test_the_timeout_covers_waiting_for_a_host(manager: Any, alone: Cluster) -> None:
    await alone[0].kill()
    with pytest.raises((NoHostAvailable, psycopg.OperationalError)):
        await manager.run(insert, timeout=0.5)


async def test_the_timeout_covers_a_commit_that_hangs(
    manager: Any, alone: Cluster, door: FaultProxy
) -> None:
    async def then_silence(conn: Any) -> None:
        await insert(conn)
        door.silent()

    with pytest.raises(CommitOutcomeUnknown):
        await manager.run(then_silence, timeout=0.5)
    door.heal()


async def test_an_outage_within_the_timeout_is_waited_for(manager: Any, alone: Cluster) -> None:
    await alone[0].kill()
    running = asyncio.create_task(manager.run(insert, timeout=20))
    await alone[0].start()
    assert await running == "wrote x"
    assert await rows(alone) == ["x"]


async def test_a_demoted_host_is_left_and_the_work_carried_out_on_the_next(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    await manager.run(insert, "before")
    await pair[0].demote()
    running = asyncio.create_task(manager.run(insert, "after"))
    await pair[1].promote()
    assert await running == "wrote after"
    assert await pair[1].sql("select id from work where id = 'after'") == [("after",)]


async def test_a_wrong_argument_is_told_at_once(manager: Any) -> None:
    def plain(conn: Any) -> int:
        return 1

    async def endless(conn: Any) -> Any:
        yield 1

    for wrong in (plain, endless, None, insert(None)):
        with pytest.raises(TypeError, match=r"coroutine function|pass fn and its arguments"):
            await manager.run(wrong)
    with pytest.raises(ConfigError, match="isolation"):
        await manager.run(insert, isolation="snapshot")
    with pytest.raises(ConfigError, match="readonly"):
        manager.transaction(readonly=1)
    with pytest.raises(ConfigError, match="attempts"):
        Retry(attempts=0)
    with pytest.raises(ConfigError, match="key"):
        await manager.run(insert, key=True, readonly=True)
    for key in ("", "x" * 300, "a\0b", 7, "\ud800"):
        with pytest.raises(ValueError, match=r"key|surrogates"):
            await manager.run(insert, key=key)


async def test_a_decorated_function_is_called_without_the_connection(
    manager: Any, alone: Cluster
) -> None:
    calls = 0

    @manager.transactional(isolation="serializable")  # type: ignore[untyped-decorator]
    async def write(conn: Any, key: str, *, twice: bool = False) -> str:
        """Write a row."""
        nonlocal calls
        calls += 1
        await insert(conn, key)
        if calls == 1:
            raise errors.SerializationFailure
        if twice:
            await insert(conn, key)
        return key

    assert await write("a", twice=True) == "a"
    assert write.__doc__ == "Write a row."
    assert await rows(alone) == ["a", "a"]
