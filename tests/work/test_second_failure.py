"""What goes wrong while an unanswered COMMIT is resolved, and after one that could not be."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors

from pgmoor import CommitOutcomeUnknown, ConnectionManager, Retry, RetrySafety, retry_safety
from stepping import step
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster, FaultProxy

INSERT = "insert into work (id) values ('x')"
QUICK = Retry(backoff_base=1e-4, backoff_cap=1e-4)


async def rows(cluster: Cluster) -> int:
    return len(await cluster[0].sql("select id from work"))


def losing(door: FaultProxy, *, delivered: bool, then: Callable[[], None]) -> Any:
    """Return a function that inserts a row, and whose COMMIT is lost with *then* right before."""

    async def work(conn: Any) -> None:
        await conn.execute(INSERT)
        door.lose_commits(delivered=delivered)
        then()

    return work


@pytest.mark.parametrize("fault", ["refuse", "deaf"])
async def test_resolving_ends_with_the_timeout(
    fault: str, alone: Cluster, door: FaultProxy, moor: Callable[..., Any]
) -> None:
    manager = await moor(door, min_size=1, max_size=1)
    work = losing(door, delivered=True, then=getattr(door, fault))
    began = monotonic()
    with pytest.raises(CommitOutcomeUnknown) as caught:
        await manager.run(work, timeout=0.7)
    assert monotonic() - began < 4  # the servers of this test are slow at times
    assert retry_safety(caught.value) is RetrySafety.UNKNOWN
    door.heal()
    assert await rows(alone) == 1


async def test_the_timeout_ends_a_question_that_is_not_answered(
    alone: Cluster, door: FaultProxy, moor: Callable[..., Any]
) -> None:
    """The resolver has a connection, and its server falls silent."""
    manager = await moor(door, min_size=2, max_size=2, health_timeout=30, cancel_timeout=1)

    async def work(conn: Any) -> None:
        await conn.execute(INSERT)
        door.delay(0.05)
        door.lose_commits(delivered=True)

    task = asyncio.create_task(manager.run(work, timeout=1.5))
    await until(lambda: door.commits_lost == 1)
    door.silent()
    began = monotonic()
    with pytest.raises(CommitOutcomeUnknown):
        await task
    assert monotonic() - began < 5
    door.heal()


@pytest.mark.parametrize("fault", ["refuse", "deaf"])
async def test_cancelled_while_resolving_it_ends_at_once_and_gives_all_back(
    fault: str, alone: Cluster, door: FaultProxy, moor: Callable[..., Any]
) -> None:
    manager = await moor(door, min_size=1, max_size=1)
    work = losing(door, delivered=True, then=getattr(door, fault))
    task = asyncio.create_task(manager.run(work, timeout=30))
    await until(lambda: door.commits_lost == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 8)
    door.heal()
    stats = manager.get_stats
    await until(lambda: stats()["pool_size"] - stats()["pool_available"] == 0)
    await manager.run(lambda conn: conn.execute(INSERT), timeout=10)


@pytest.mark.parametrize("delivered", [False, True])
async def test_cancelled_at_every_await_of_resolving_it_happens_once_or_not_at_all(
    delivered: bool, manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    async def work(conn: Any, name: str) -> None:
        await conn.execute("insert into work (id) values (%s)", [name])
        if door.commits_lost == lost:
            door.lose_commits(delivered=delivered)

    stats = manager.get_stats
    retry = Retry(backoff_base=1e-3, backoff_cap=1e-3, budget=None)
    at, cancelled = 0, True
    while cancelled:
        at += 1
        lost = door.commits_lost
        running = manager.run(work, str(at), retry=retry, timeout=20)
        try:
            await asyncio.create_task(step(running, at))
            cancelled = False
        except asyncio.CancelledError:
            door.heal()  # a COMMIT that was not sent is not to be lost later
        await until(lambda: stats()["pool_size"] - stats()["pool_available"] == 0)
        found = await alone[0].sql("select count(*) from work where id = %s", str(at))
        assert found[0][0] <= 1
    assert found == [(1,)]
    assert at > 4  # an undisturbed run has three


@pytest.mark.parametrize("key", [None, True])
async def test_without_budget_a_commit_that_was_rolled_back_is_raised_as_such(
    key: Any, manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    async def conflict(conn: Any) -> None:
        raise errors.SerializationFailure

    with pytest.raises(errors.SerializationFailure):
        await manager.run(conflict, retry=QUICK)  # takes all tokens
    work = losing(door, delivered=False, then=lambda: None)
    with pytest.raises(psycopg.OperationalError, match="rolled back") as caught:
        await manager.run(work, key=key)
    assert retry_safety(caught.value) is RetrySafety.ROLLED_BACK
    assert await rows(alone) == 0
    work = losing(door, delivered=True, then=lambda: None)
    await manager.run(work, key=key)  # no repeat: it was carried out
    assert await rows(alone) == 1


# -- an attempt that nobody can tell of ------------------------------------------------------------


@pytest.fixture
async def blind(alone: Cluster, door: FaultProxy) -> AsyncIterator[ConnectionManager]:
    """A manager of a role that is told no transaction ids, as behind some poolers."""
    node = alone[0]
    await node.sql("drop schema if exists pgmoor cascade")
    await node.sql("create role blind login")
    await node.sql("grant all on work to blind")
    await node.sql("revoke execute on function pg_control_system() from public")
    try:
        address = f"{door.host}:{door.port}"
        async with ConnectionManager("user=blind dbname=postgres", hosts=[address]) as manager:
            yield manager
    finally:
        await node.sql("grant execute on function pg_control_system() to public")
        await node.sql("drop owned by blind")
        await node.sql("drop role blind")


@pytest.mark.parametrize("failure", ["of the server", "of the connection", "of the program"])
async def test_the_error_of_a_repeat_does_not_hide_that_an_earlier_attempt_may_have_committed(
    failure: str, blind: ConnectionManager, door: FaultProxy, alone: Cluster
) -> None:
    calls = 0

    async def work(conn: Any) -> None:
        nonlocal calls
        calls += 1
        await conn.execute(INSERT)
        if calls == 1:
            door.lose_commits(delivered=True)
        elif failure == "of the server":
            raise errors.UniqueViolation("it is there already")
        elif failure == "of the connection":
            await conn.execute("select pg_terminate_backend(pg_backend_pid())")
        else:
            raise ValueError("mine")

    retry = Retry(idempotent=True, attempts=2)
    if failure == "of the program":
        with pytest.raises(ValueError, match="mine"):
            await blind.run(work, retry=retry)
    else:
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await blind.run(work, retry=retry)
        assert retry_safety(caught.value) is RetrySafety.UNKNOWN
        assert isinstance(caught.value.__cause__, psycopg.Error)
    assert calls == 2
    assert await rows(alone) == 1


# -- a demoted host --------------------------------------------------------------------------------


async def test_a_key_that_a_demoted_host_refuses_has_it_left_at_once(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    """The manager's probes are far apart: only the refusal can tell it."""
    manager = await moor(*pair, min_size=1, health_interval=60)
    await manager.install()
    await pair[1].wait_for("select to_regclass('pgmoor.transactions') is not null")

    async def insert(conn: Any) -> None:
        await conn.execute(INSERT)

    await manager.run(insert, key=True)
    await pair[1].wait_for("select count(*) = 1 from work")
    await pair[0].demote()
    await pair[1].promote()
    await manager.run(insert, key=True, timeout=10)
    assert len(await pair[1].sql("select id from work")) == 2


# -- one inside another ----------------------------------------------------------------------------


async def test_none_of_them_runs_inside_another(manager: Any, alone: Cluster) -> None:
    @manager.transactional()  # type: ignore[untyped-decorator]
    async def decorated(conn: Any) -> None:
        await conn.execute(INSERT)

    async def looped() -> None:
        async for attempt in manager.retrying():
            async with attempt as conn:
                await conn.execute(INSERT)

    async def block() -> None:
        async with manager.transaction() as conn:
            await conn.execute(INSERT)

    for inner in (decorated, looped, block):

        async def outer(conn: Any, inner: Any = inner) -> None:
            await conn.execute(INSERT)
            await inner()

        with pytest.raises(RuntimeError, match="in a transaction of the same manager"):
            await manager.run(outer)
        with pytest.raises(RuntimeError, match="in a transaction of the same manager"):
            async for attempt in manager.retrying():
                async with attempt as conn:
                    await outer(conn)
    assert await rows(alone) == 0
    async with manager.connection() as conn:  # that is no transaction of theirs
        await decorated()
    assert await rows(alone) == 1
