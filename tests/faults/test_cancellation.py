"""Tasks are cancelled at every await: no connection is lost, and no healthy one is closed."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest

from pgmoor import ConnectionAborted
from support import both_loops, hold, loop_name, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, FaultProxy


ACTIVE = psycopg.pq.TransactionStatus.ACTIVE
MANY = "select repeat('x', 1000) from generate_series(1, 100000)"
TIMES = {"asyncio": 10_000, "uvloop": 2_000}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def all_free(manager: ConnectionManager) -> None:
    """Wait until no connection is in use and no caller waits."""
    await until(
        lambda: manager.get_stats()["pool_size"] - manager.get_stats()["pool_available"] == 0
    )
    await until(lambda: manager.get_stats()["requests_waiting"] == 0)


async def pids(manager: ConnectionManager, count: int) -> set[int]:
    conns = await hold(manager, count)
    found = {conn.info.backend_pid for conn in conns}
    for conn in conns:
        await manager.putconn(conn)
    return found


async def one_task(manager: ConnectionManager) -> None:
    """Do what an application does, with every kind of await in it."""
    async with manager.connection() as conn:
        await conn.execute("select 1")
        async with conn.transaction():
            await conn.execute("insert into work (id) values ('c')")
        await asyncio.sleep(0)


class CancelAt:
    """Awaits a coroutine, and calls *cancel* when it has been suspended for the *at*-th time."""

    def __init__(self, work: Coroutine[Any, Any, None], at: int, cancel: Callable[[], Any]) -> None:
        self._work = work
        self._at = at
        self._cancel = cancel

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        suspensions = 0
        try:
            waits_for = steps.send(None)
            while True:
                suspensions += 1
                if suspensions == self._at:
                    asyncio.get_running_loop().call_soon(self._cancel)
                try:
                    yield waits_for
                except BaseException as error:  # noqa: BLE001  it is passed on
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(None)
        except StopIteration:
            return


async def cancelled_by_asyncio(manager: ConnectionManager, at: int) -> bool:
    """Cancel a task at its *at*-th await; return False if it ended before that."""
    requested = False

    def cancel() -> None:
        nonlocal requested
        requested = task.cancel()

    async def work() -> None:
        await CancelAt(one_task(manager), at, cancel)

    task = asyncio.create_task(work())
    try:
        await task
    except asyncio.CancelledError:
        return True
    assert not requested, "CancelledError was swallowed"
    return False


async def cancelled_by_anyio(manager: ConnectionManager, at: int) -> bool:
    with anyio.CancelScope() as scope:
        await CancelAt(one_task(manager), at, scope.cancel)
    return scope.cancelled_caught


async def limited_by_asyncio(seconds: float, work: Awaitable[Any]) -> None:
    async with asyncio.timeout(seconds):
        await work


async def limited_by_anyio(seconds: float, work: Awaitable[Any]) -> None:
    with anyio.fail_after(seconds):
        await work


@pytest.mark.thorough
@both_loops
async def test_ten_thousand_cancellations_lose_and_close_no_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=4, max_size=4)
    before = await pids(manager, 4)
    open_before = descriptors()
    rng = random.Random(7)
    times = TIMES[loop_name()]
    caught = 0

    async def canceller(how: Callable[..., Any]) -> None:
        nonlocal caught
        while caught < times:
            cancelled = await how(manager, rng.randrange(1, 10))  # of eight awaits, seldom more
            caught += cancelled  # not before the await: others count meanwhile

    await asyncio.gather(
        *(canceller(how) for how in (cancelled_by_asyncio, cancelled_by_anyio) for _ in range(4))
    )

    await all_free(manager)
    assert await pids(manager, 4) == before  # the same sessions: none was closed
    assert manager.get_stats()["returns_bad"] == 0
    assert descriptors() <= open_before
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("pgmoor-cancel")]


@both_loops
async def test_a_task_can_be_cancelled_at_each_of_its_awaits_in_order(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    before = await pids(manager, 2)
    for how in (cancelled_by_asyncio, cancelled_by_anyio):
        at = 1
        while await how(manager, at):
            at += 1
        assert at > 5, "the task has more awaits than that"

    await all_free(manager)
    assert await pids(manager, 2) == before


@both_loops
async def test_a_connection_survives_a_timeout_around_a_slow_query(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with manager.connection() as conn:
        pid = conn.info.backend_pid
        for limited in 2 * (limited_by_asyncio, limited_by_anyio):
            began = monotonic()
            with pytest.raises(TimeoutError):
                await limited(0.05, conn.execute("select pg_sleep(10)"))
            assert monotonic() - began < 1.0
            await conn.rollback()
        assert (await (await conn.execute("select 1")).fetchone()) == (1,)

    assert await pids(manager, 1) == {pid}


@both_loops
async def test_a_timeout_on_a_silent_server_takes_cancel_timeout_longer(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.3)
    for limited in (limited_by_asyncio, limited_by_anyio):
        conn = await manager.getconn()
        await conn.execute("select 1")
        door.silent()
        began = monotonic()
        with pytest.raises(TimeoutError):
            await limited(0.1, conn.execute("select 1"))
        taken = monotonic() - began
        await manager.putconn(conn)
        door.heal()

        assert 0.3 < taken < 1.0, taken
        assert conn.closed


class Halt:
    """A point in a task that it reaches and does not leave by itself."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def in_a_transaction(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.transaction():
        await conn.execute("select 1")
        await halt()


async def in_a_savepoint(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    await conn.execute("select 1")
    await in_a_transaction(conn, halt)


async def with_a_rollback(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    await conn.execute("select 1")
    try:
        await halt()
    finally:
        await conn.rollback()


async def in_a_pipeline(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.pipeline() as pipeline:
        await conn.execute("select 1")
        await pipeline.sync()
        await conn.execute("select 2")
        await halt()


async def with_a_cursor_of_the_server(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor("rows") as cursor:
        await cursor.execute("select generate_series(1, 1000)")
        await cursor.fetchone()
        await halt()


async def in_a_copy(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor() as cursor, cursor.copy("copy work (id) from stdin") as stream:
        await stream.write_row(["d"])
        await halt()


async def in_a_copy_to_here(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor() as cursor, cursor.copy(f"copy ({MANY}) to stdout") as stream:
        await anext(aiter(stream))
        await halt()


async def in_a_stream(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor() as cursor:
        stream: Any = cursor.stream(MANY)
        async with aclosing(stream) as rows:
            await anext(rows)
            await halt()


@pytest.mark.parametrize(
    "work",
    [
        in_a_transaction,
        in_a_savepoint,
        with_a_rollback,
        in_a_pipeline,
        with_a_cursor_of_the_server,
        in_a_copy,
        in_a_copy_to_here,
        in_a_stream,
    ],
)
@both_loops
async def test_what_a_cancelled_task_still_sends_is_bounded_on_a_silent_server(
    work: Callable[[Any, Halt], Awaitable[None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.3, health_timeout=30)

    halt = Halt()

    async def borrow() -> None:
        async with manager.connection() as conn:
            await work(conn, halt)

    task = asyncio.create_task(borrow())
    await halt.reached.wait()
    door.silent()
    task.cancel()
    began = monotonic()
    done, _ = await asyncio.wait([task], timeout=5)
    taken = monotonic() - began
    door.heal()

    assert done
    assert task.cancelled()
    assert taken < 2.0, taken


@both_loops
async def test_a_cancelled_pipeline_leaves_a_usable_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=0.5)
    before = await pids(manager, 1)

    async def pipe() -> None:
        async with manager.connection() as conn, conn.pipeline():
            await conn.execute("select pg_sleep(10)")
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await limited_by_asyncio(0.2, pipe())

    await all_free(manager)
    assert await pids(manager, 1) == before


async def after_a_swallowed_cancellation(work: Callable[[], Awaitable[None]]) -> None:
    """Do something in a task that counts as being cancelled for the rest of its life."""

    halt = Halt()

    async def swallows() -> None:
        with suppress(asyncio.CancelledError):
            await halt()
        await work()

    task = asyncio.create_task(swallows())
    await halt.reached.wait()
    task.cancel()
    await task


async def test_a_copy_that_ends_well_is_not_cut_for_a_task_that_was_cancelled(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=0.1)
    await alone[0].sql("create table slow (id text)")
    await alone[0].sql(
        "create function dawdle() returns trigger language plpgsql"
        " as $$ begin perform pg_sleep(0.5); return null; end $$"
    )
    await alone[0].sql("create trigger slow after insert on slow execute function dawdle()")

    async def copy() -> None:
        async with (
            manager.connection() as conn,
            conn.cursor() as cursor,
            cursor.copy("copy slow from stdin") as stream,
        ):
            await stream.write_row(["a"])

    try:
        await after_a_swallowed_cancellation(copy)
        assert await alone[0].sql("select id from slow") == [("a",)]
    finally:
        await alone[0].sql("drop table slow")
        await alone[0].sql("drop function dawdle")


async def closing_a_cursor(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    cursor = conn.cursor("rows")
    await cursor.execute("select generate_series(1, 1000)")
    door.silent()
    await cursor.close()


async def leaving_a_stream(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    async with conn.cursor() as cursor:
        stream: Any = cursor.stream(MANY)
        async with aclosing(stream) as rows:
            await anext(rows)
            door.silent()


@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize("lose", [closing_a_cursor, leaving_a_stream])
async def test_a_block_whose_session_is_lost_without_an_error_does_not_end_well(
    in_transaction: bool,
    lose: Callable[..., Awaitable[None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.2, health_timeout=30)

    async def write() -> None:
        async with manager.connection() as conn, AsyncExitStack() as stack:
            if in_transaction:
                await stack.enter_async_context(conn.transaction())
            await conn.execute("insert into work (id) values ('lost')")
            await lose(conn, door)

    with pytest.raises(psycopg.OperationalError):
        await after_a_swallowed_cancellation(write)
    door.heal()
    assert await alone[0].sql("select id from work") == []


async def a_query_under_a_timeout(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    door.silent()
    with suppress(TimeoutError):
        await limited_by_asyncio(0.1, conn.execute("select 1"))


async def a_savepoint_under_a_timeout(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    door.silent()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1), conn.transaction():
            await conn.execute("select 1")


async def a_savepoint_left_by_an_error(
    conn: psycopg.AsyncConnection[Any], door: FaultProxy
) -> None:
    with suppress(LookupError):
        async with conn.transaction():
            heard_at = conn.hearing.statement_at  # type: ignore[attr-defined]
            door.reset()
            raise LookupError
    assert conn.hearing.statement_at == heard_at  # type: ignore[attr-defined]  # no answer came


async def a_pipeline_left_by_an_error(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    with suppress(LookupError):
        async with conn.pipeline():
            await conn.execute("select 1")
            door.reset()
            raise LookupError


async def a_copy_left_by_an_error(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    with suppress(LookupError):
        async with (
            conn.transaction(),
            conn.cursor() as cursor,
            cursor.copy("copy work (id) from stdin") as stream,
        ):
            await stream.write_row(["d"])
            door.reset()
            raise LookupError


async def a_savepoint_to_roll_back(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    async with conn.transaction(force_rollback=True):
        door.reset()
        await until(conn.has_unread)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "lose",
    [
        a_query_under_a_timeout,
        a_savepoint_under_a_timeout,
        a_savepoint_left_by_an_error,
        a_pipeline_left_by_an_error,
        a_copy_left_by_an_error,
        a_savepoint_to_roll_back,
    ],
)
@pytest.mark.parametrize("in_transaction", [True, False])
async def test_a_block_around_one_that_has_lost_the_session_does_not_end_well(
    in_transaction: bool,
    lose: Callable[..., Awaitable[None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.2, health_timeout=30)
    with pytest.raises(psycopg.OperationalError):
        async with manager.connection() as conn, AsyncExitStack() as stack:
            if in_transaction:
                await stack.enter_async_context(conn.transaction())
            await conn.execute("insert into work (id) values ('lost')")
            await lose(conn, door)
    door.heal()
    assert await alone[0].sql("select id from work") == []


async def many_statements(conn: psycopg.AsyncConnection[Any]) -> None:
    async with conn.pipeline():
        while True:
            await conn.execute("select 1")


async def many_rows(conn: psycopg.AsyncConnection[Any]) -> None:
    rows = ([str(number)] for number in range(50_000))
    await conn.cursor().executemany("insert into work (id) values (%s)", rows)


@pytest.mark.parametrize("work", [many_statements, many_rows])
@both_loops
async def test_a_timeout_while_a_pipeline_is_filled_costs_no_connection(
    work: Callable[[Any], Awaitable[None]], alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=20)
    before = await pids(manager, 1)

    async def pipe() -> None:
        async with manager.connection() as conn:
            await work(conn)

    for limited in (limited_by_asyncio, limited_by_anyio):
        began = monotonic()
        with pytest.raises(TimeoutError):
            await limited(0.1, pipe())
        assert monotonic() - began < 15.0

    await all_free(manager)
    assert await pids(manager, 1) == before
    assert await alone[0].sql("select id from work") == []


@pytest.mark.parametrize("work", [with_a_rollback, with_a_cursor_of_the_server])
async def test_a_session_that_is_lost_meanwhile_leaves_a_cancelled_task_cancelled(
    work: Callable[[Any, Halt], Coroutine[Any, Any, None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=30, health_timeout=30)
    halt = Halt()
    conn = await manager.getconn()
    task = asyncio.create_task(work(conn, halt))
    await halt.reached.wait()
    door.silent()
    task.cancel()
    await until(lambda: conn.pgconn.transaction_status == ACTIVE)
    door.reset()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()
    door.heal()
    await manager.putconn(conn)


async def test_a_session_that_its_server_ended_leaves_a_cancelled_task_cancelled(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=5)
    halt = Halt()
    conn = await manager.getconn()
    await conn.execute("set idle_in_transaction_session_timeout = 50")  # its error is no
    task = asyncio.create_task(with_a_rollback(conn, halt))  # OperationalError
    await halt.reached.wait()
    await until(conn.has_unread)
    task.cancel()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()
    await manager.putconn(conn)


@both_loops
async def test_a_cancelled_copy_that_waits_for_a_lock_leaves_a_usable_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2, cancel_timeout=5)
    before = await pids(manager, 2)
    await alone[0].sql(
        "create function locked() returns trigger language plpgsql"
        " as $$ begin perform pg_advisory_xact_lock(7); return new; end $$"
    )
    await alone[0].sql(
        "create trigger locked before insert on work for each row execute function locked()"
    )
    halt = Halt()

    async def copy() -> None:
        async with (
            manager.connection() as conn,
            conn.cursor() as cursor,
            cursor.copy("copy work (id) from stdin") as stream,
        ):
            for number in range(10_000):
                await stream.write_row([f"{number:>100}"])
            await halt()

    try:
        async with manager.connection() as holder:
            await holder.execute("select pg_advisory_xact_lock(7)")
            task = asyncio.create_task(copy())
            await halt.reached.wait()
            await alone[0].wait_for(
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock')"
            )
            task.cancel()
            began = monotonic()
            await asyncio.wait([task], timeout=5)
            assert monotonic() - began < 3.0
        assert task.cancelled()
        await all_free(manager)
        assert await pids(manager, 2) == before
    finally:
        await alone[0].sql("drop trigger locked on work")
        await alone[0].sql("drop function locked")


async def test_the_end_of_a_block_does_not_take_another_tasks_answer(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with asyncio.timeout(5), manager.connection() as conn:
        await conn.execute("select 1")
        async with conn.transaction():
            other = asyncio.create_task(conn.execute("select pg_sleep(0.5)"))
            await until(lambda: conn.pgconn.transaction_status == ACTIVE)
            time.sleep(1)  # noqa: ASYNC251  the answer arrives, and the loop has not seen it
        await other


@both_loops
async def test_a_loop_over_a_stream_may_be_left_early(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=5)
    before = await pids(manager, 1)

    async def first() -> Any:
        async with manager.connection() as conn:
            async for row in conn.cursor().stream(MANY):
                return row
        return None

    async with manager.connection() as conn:
        async for _ in conn.cursor().stream(MANY):
            break
    assert await first() is not None
    with pytest.raises(LookupError):
        async with manager.connection() as conn:
            async for _ in conn.cursor().stream(MANY):
                raise LookupError

    await all_free(manager)
    assert await pids(manager, 1) == before


async def a_stream(conn: psycopg.AsyncConnection[Any]) -> Any:
    rows = conn.cursor().stream("select generate_series(1, 10)")
    await anext(rows)
    return rows


async def notifications(conn: psycopg.AsyncConnection[Any]) -> Any:
    await conn.execute("listen something")
    await conn.execute("notify something")
    await conn.commit()
    await conn.execute("select 1")
    found = conn.notifies()
    await anext(found)
    return found


@pytest.mark.parametrize("leave", [a_stream, notifications])
async def test_a_block_that_leaves_a_stream_open_is_told_so_and_does_not_hang(
    leave: Callable[[Any], Awaitable[Any]], alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(psycopg.ProgrammingError, match="aclosing"):
        async with asyncio.timeout(5), manager.connection() as conn:
            left = await leave(conn)
    async with manager.connection() as conn:  # another one
        await conn.execute("select 1")
    with suppress(psycopg.Error):
        await left.aclose()


@both_loops
async def test_a_cancelled_copy_leaves_a_usable_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    before = await pids(manager, 1)

    async def copy() -> None:
        async with manager.connection() as conn:
            cursor = conn.cursor()
            async with cursor.copy("copy (select pg_sleep(10)) to stdout") as stream:
                async for _ in stream:
                    pass

    with pytest.raises(TimeoutError):
        await limited_by_asyncio(0.05, copy())

    await all_free(manager)
    assert await pids(manager, 1) == before


async def test_a_cancelled_waiter_leaves_the_queue(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(5)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 5)
    for waiter in waiters[:4]:
        waiter.cancel()
    await asyncio.wait(waiters[:4])
    await manager.putconn(conn)

    again = await waiters[4]
    assert again is conn
    await manager.putconn(again)


async def test_a_waiter_cancelled_as_it_is_served_passes_the_connection_on(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    first = asyncio.create_task(manager.getconn())
    second = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 2)

    await manager.putconn(conn)  # handed to the first ...
    first.cancel()  # ... which is cancelled before it runs

    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is conn
    await manager.putconn(conn)


@both_loops
async def test_a_rollback_goes_on_when_its_caller_is_cancelled(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    before = await pids(manager, 1)
    with anyio.CancelScope() as scope:
        async with manager.connection() as conn:
            await conn.execute("insert into work (id) values ('never')")
            scope.cancel()
            await asyncio.sleep(1)

    await all_free(manager)
    assert await pids(manager, 1) == before
    assert await alone[0].sql("select id from work") == []


@both_loops
async def test_an_abort_ends_a_query_with_host_and_reason(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    query = asyncio.create_task(conn.execute("select pg_sleep(10)"))
    await alone[0].wait_for(
        "select exists (select from pg_stat_activity where query ~ 'sleep\\(10')"
    )
    conn.abort("the host was left")
    message = f"127.0.0.1:{alone[0].port} was aborted: the host was left"
    with pytest.raises(ConnectionAborted, match=message) as error:
        await query
    await manager.putconn(conn)

    assert isinstance(error.value, psycopg.OperationalError)
    async with manager.connection() as other:
        assert other is not conn
