"""Overflow: as in SQLAlchemy's QueuePool, and with all that a manager can do."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from sqlalchemy.exc import TimeoutError as QueuePoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from pgmoor import ConnectionManager, PoolExhausted, TooManyRequests
from servers import MARK, Watched
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster

SIZE, OVERFLOW = 2, 2
WAIT = 0.3  # seconds


class Pool(Protocol):
    """What the tests of both pools use."""

    exhausted: type[Exception]

    async def take(self, timeout: float = 5) -> Any: ...
    async def give(self, conn: Any) -> None: ...
    async def close(self) -> None: ...


class TheirPool:
    """SQLAlchemy's AsyncAdaptedQueuePool."""

    exhausted = QueuePoolTimeout

    def __init__(self, watched: Watched) -> None:
        self.engine = create_async_engine(
            f"postgresql+psycopg://postgres@{watched.node.host}:{watched.node.port}/postgres",
            connect_args={"application_name": MARK},
            pool_size=SIZE,
            max_overflow=OVERFLOW,
            pool_timeout=WAIT,
        )

    async def take(self, timeout: float = 5) -> Any:
        return await self.engine.connect()

    async def give(self, conn: Any) -> None:
        await conn.close()

    async def close(self) -> None:
        await self.engine.dispose()


class OurPool:
    """A manager that starts empty, as a QueuePool does."""

    exhausted = PoolExhausted

    def __init__(self, watched: Watched, **settings: Any) -> None:
        values = {"min_size": 0, "max_size": SIZE, "max_overflow": OVERFLOW, **settings}
        self.manager = ConnectionManager(watched.conninfo, configure=watched.mark, **values)

    async def take(self, timeout: float = 5) -> Any:
        await self.manager.open()
        return await self.manager.getconn(timeout)

    async def give(self, conn: Any) -> None:
        await self.manager.putconn(conn)

    async def close(self) -> None:
        await self.manager.close(timeout=1)


@pytest.fixture
async def watched(alone: Cluster) -> Watched:
    found = Watched(alone)
    await found.end(*await found.pids())
    return found


@pytest.fixture(params=[TheirPool, OurPool])
async def pool(request: pytest.FixtureRequest, watched: Watched) -> AsyncIterator[Pool]:
    """SQLAlchemy's pool, then ours."""
    made = request.param(watched)
    yield made
    await made.close()


@pytest.fixture
async def ours(watched: Watched) -> AsyncIterator[Callable[..., Any]]:
    """Open managers with overflow."""
    made: list[OurPool] = []

    async def build(**settings: Any) -> ConnectionManager:
        made.append(OurPool(watched, **settings))
        await made[-1].manager.open()
        await made[-1].manager.wait()
        return made[-1].manager

    yield build
    for one in made:
        await one.close()


async def at_rest(manager: ConnectionManager) -> None:
    """Assert that all counters return to 0."""
    assert manager._runtime is not None
    queue = manager._runtime.queue
    assert queue.pool is not None
    pool, ledger = queue.pool, queue.ledger

    def counters() -> tuple[int, ...]:
        beyond = max(pool.size - ledger.sizes.kept, 0)
        return ledger.held, len(queue.waiting), beyond, pool.filler.dialling

    with contextlib.suppress(TimeoutError):
        await until(lambda: not any(counters()), timeout=2)
    assert counters() == (0, 0, 0, 0)
    assert pool.size == len(pool.connections) == len(pool.ready)
    await until(lambda: pool.inner.size == pool.size)


# -- both pools ---------------------------------------------------------------------------------


async def test_a_pool_starts_empty_and_grows_and_shrinks_by_the_same_steps(
    pool: Pool, watched: Watched
) -> None:
    assert await watched.pids() == set()
    held = []
    for count in range(1, SIZE + OVERFLOW + 1):
        held.append(await pool.take())
        await watched.has(count)
    for left in (4, 4, 3, 2):  # the first two that come back are kept, whichever they are
        await pool.give(held.pop())
        await watched.has(left)


async def test_when_all_are_in_use_a_caller_waits_up_to_its_timeout(pool: Pool) -> None:
    held = [await pool.take() for _ in range(SIZE + OVERFLOW)]
    began = monotonic()
    with pytest.raises(pool.exhausted):
        await pool.take(timeout=WAIT)
    assert WAIT - 0.05 < monotonic() - began < WAIT + 1.5
    waiter = asyncio.create_task(pool.take())
    await asyncio.sleep(0.05)
    await pool.give(held.pop())  # handed over
    held.append(await waiter)
    for conn in held:
        await pool.give(conn)


async def test_kept_connections_are_lent_again(pool: Pool, watched: Watched) -> None:
    held = [await pool.take() for _ in range(SIZE + 1)]
    for conn in held:
        await pool.give(conn)
    await watched.has(SIZE)
    before = await watched.pids()
    held = [await pool.take() for _ in range(SIZE)]

    assert await watched.pids() == before
    for conn in held:
        await pool.give(conn)


async def test_a_load_just_above_the_size_does_not_dial_at_each_checkout(
    pool: Pool, watched: Watched
) -> None:
    """Two connections stay in use, and a third is taken and given back again and again."""
    held = [await pool.take() for _ in range(SIZE)]
    before: set[int] | None = None
    for _ in range(10):
        third = await pool.take()
        before = before or await watched.pids()
        await pool.give(third)
    assert await watched.pids() == before
    for conn in held:
        await pool.give(conn)


# -- ours ----------------------------------------------------------------------------------------


async def test_an_overflow_connection_is_handed_over_while_callers_wait(
    ours: Callable[..., Any], watched: Watched
) -> None:
    manager = await ours(max_size=1, max_overflow=1)
    regular, extra = [await manager.getconn(timeout=5) for _ in range(2)]
    waiters = [asyncio.create_task(manager.getconn(timeout=5)) for _ in range(3)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 3)
    for waiter in waiters:
        await manager.putconn(extra)
        assert await waiter is extra
    assert len(await watched.pids()) == 2
    await manager.putconn(regular)
    await manager.putconn(extra)
    await watched.has(1)
    await at_rest(manager)


async def test_an_overflow_connection_used_as_a_block_stays_open(ours: Callable[..., Any]) -> None:
    manager = await ours(max_size=1, max_overflow=1)
    held = [await manager.getconn(timeout=5) for _ in range(2)]
    for conn in held:
        async with conn:
            await conn.execute("select 1")
        assert not conn.closed
        await manager.putconn(conn)
    await at_rest(manager)


async def test_close_returns_applies_to_an_overflow_connection(ours: Callable[..., Any]) -> None:
    manager = await ours(max_size=1, max_overflow=1, close_returns=True)
    regular, extra = [await manager.getconn(timeout=5) for _ in range(2)]
    waiter = asyncio.create_task(manager.getconn(timeout=5))
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    await extra.close()
    assert await waiter is extra
    await extra.close()
    await regular.close()
    await at_rest(manager)


@pytest.mark.parametrize("what", ["regular", "extra"])
async def test_a_connection_that_its_holder_closed_counts_until_it_comes_back(
    what: str, ours: Callable[..., Any], watched: Watched
) -> None:
    manager = await ours(max_size=1, max_overflow=1, timeout=0.2)
    regular, extra = [await manager.getconn(timeout=5) for _ in range(2)]
    closed, open_ = (regular, extra) if what == "regular" else (extra, regular)
    await closed.close()
    with pytest.raises(PoolExhausted, match=r"size 2 of 1\+1, used 2"):
        await manager.getconn()
    await manager.putconn(closed)
    again = await manager.getconn(timeout=5)
    await manager.putconn(again)
    await manager.putconn(open_)
    await watched.has(1)
    await at_rest(manager)


async def test_a_connection_that_its_holder_closed_does_not_stop_the_overflow(
    ours: Callable[..., Any],
) -> None:
    manager = await ours(max_size=1, max_overflow=1)
    held = await manager.getconn(timeout=5)
    await held.close()
    async with manager.connection(timeout=2) as conn:
        await conn.execute("select 1")
    await manager.putconn(held)
    await at_rest(manager)


async def test_max_waiting_counts_callers_beyond_the_overflow(ours: Callable[..., Any]) -> None:
    manager = await ours(max_size=1, max_overflow=1, max_waiting=1)
    held = [await manager.getconn(timeout=5) for _ in range(2)]
    waiter = asyncio.create_task(manager.getconn(timeout=5))
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    with pytest.raises(TooManyRequests):
        await manager.getconn()
    for conn in held:
        await manager.putconn(conn)
    await manager.putconn(await waiter)


async def test_a_pool_of_overflow_only_keeps_nothing(
    ours: Callable[..., Any], watched: Watched
) -> None:
    manager = await ours(max_size=0, max_overflow=2)
    held = [await manager.getconn(timeout=5) for _ in range(2)]
    for conn in held:
        await manager.putconn(conn)
    await watched.has(0)
    await at_rest(manager)


async def test_an_expired_or_drained_overflow_connection_is_not_kept(
    ours: Callable[..., Any], watched: Watched
) -> None:
    manager = await ours(max_size=1, max_overflow=1, max_lifetime=0.2)
    held = [await manager.getconn(timeout=5) for _ in range(2)]
    await until(lambda: monotonic() > max(conn.expires_at for conn in held))
    for conn in reversed(held):
        await manager.putconn(conn)
    await watched.has(0)  # and nobody wants another

    held = [await manager.getconn(timeout=5) for _ in range(2)]
    await manager.drain()
    for conn in reversed(held):
        await manager.putconn(conn)
    assert all(conn.closed for conn in held)
    await watched.has(0)
    await at_rest(manager)


async def test_after_a_resize_below_what_is_in_use_no_connection_is_made(
    ours: Callable[..., Any], watched: Watched
) -> None:
    manager = await ours(max_size=4, max_overflow=1, max_idle=0.1)
    held = [await manager.getconn(timeout=5) for _ in range(4)]
    await manager.resize(1, 2)
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=0.2)
    assert len(await watched.pids()) == 4
    for conn in held:
        await manager.putconn(conn)
    await watched.has(1)
    await at_rest(manager)


async def test_with_max_idle_0_a_resize_down_closes_idle_connections(
    ours: Callable[..., Any], watched: Watched
) -> None:
    manager = await ours(min_size=2, max_size=3, max_overflow=0, max_idle=0)
    await watched.has(2)
    await manager.resize(1, 3)
    await watched.has(1)
    waiters = [manager.getconn(timeout=5) for _ in range(3)]
    held = await asyncio.gather(*waiters)
    assert len(await watched.pids()) == 3
    for conn in held:
        await manager.putconn(conn)
    await watched.has(1)
    await at_rest(manager)


async def test_num_workers_limits_how_many_overflow_connections_are_made_at_a_time(
    ours: Callable[..., Any], watched: Watched
) -> None:
    at_work, most = 0, 0

    async def configure(conn: Any) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await watched.mark(conn)
        await asyncio.sleep(0.02)  # so that another may begin
        at_work -= 1

    manager = ConnectionManager(
        watched.conninfo, min_size=0, max_size=0, max_overflow=8, num_workers=2, configure=configure
    )
    async with manager:
        held = await asyncio.gather(*(manager.getconn(timeout=5) for _ in range(8)))
        for conn in held:
            await manager.putconn(conn)

    assert most == 2
