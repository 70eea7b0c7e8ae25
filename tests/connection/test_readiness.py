"""How a connection waits for its socket: watched once for a transaction, and not after it."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors
from psycopg.waiting import WAIT_R, WAIT_W

from pgmoor import ConnectionManager
from pgmoor._core.connection.readiness import Readiness
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.abc import PQGen

    from pgmoor.testing import Cluster

INSERT = "insert into work (id) values ('x')"


class Watched:
    """Which descriptors the event loop watches for the program, and how often that began."""

    def __init__(self) -> None:
        self.now: set[int] = set()
        self.begun: Counter[int] = Counter()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        add, remove = loop.add_reader, loop.remove_reader

        def adding(fd: int, *args: Any) -> None:
            self.now.add(fd)
            self.begun[fd] += 1
            add(fd, *args)

        def removing(fd: int) -> bool:
            self.now.discard(fd)
            return remove(fd)

        monkeypatch.setattr(loop, "add_reader", adding)
        monkeypatch.setattr(loop, "remove_reader", removing)


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched()
    found.install(monkeypatch)
    return found


def keeps() -> bool:
    """Return whether this event loop calls for as long as there is something to read."""
    return isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)


async def three(conn: Any) -> int:
    for _ in range(3):
        await conn.execute(INSERT)
    return int(conn.pgconn.socket)


async def test_a_transaction_is_watched_once_and_not_after_its_end(
    alone: Cluster, moor: Callable[..., Any], watched: Watched
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, health_interval=60)
    await manager.run(three)  # the connection has been made
    for way in ("run", "transaction", "retrying"):
        watched.begun.clear()
        if way == "run":
            fd = await manager.run(three)
        elif way == "transaction":
            async with manager.transaction() as conn:
                fd = await three(conn)
        else:
            async for attempt in manager.retrying():
                async with attempt as conn:
                    fd = await three(conn)
        assert watched.begun[fd] == 1 or not keeps()  # and not for each of five statements
        assert fd not in watched.now


@pytest.mark.parametrize("end", ["error", "failed", "lost", "cut", "cancelled", "cancelled query"])
async def test_nothing_is_watched_after_a_transaction_that_failed(
    end: str, alone: Cluster, moor: Callable[..., Any], watched: Watched
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, health_interval=60)
    fd = -1
    inside = asyncio.Event()

    async def work(conn: Any) -> None:
        nonlocal fd
        fd = await three(conn)
        assert (fd in watched.now) == keeps()
        inside.set()
        if end == "error":
            raise ValueError
        if end == "failed":
            await conn.execute("select from missing")
        elif end == "lost":
            await conn.execute("select pg_terminate_backend(pg_backend_pid())")
        elif end == "cut":
            asyncio.get_running_loop().call_soon(conn.abort, "as a test")
            await conn.execute("select pg_sleep(0.2)")  # its locks are kept for so long
        elif end == "cancelled":
            await asyncio.Event().wait()
        else:
            await conn.execute("select pg_sleep(60)")

    async def once() -> None:
        async with manager.transaction() as conn:
            await work(conn)

    task = asyncio.create_task(once())
    await inside.wait()
    if end.startswith("cancelled"):
        task.cancel()
    with pytest.raises((ValueError, psycopg.Error, asyncio.CancelledError)):
        await task
    assert fd not in watched.now
    await manager.run(three)  # perhaps on a socket with the same number


async def test_what_arrives_while_nobody_waits_does_not_occupy_the_loop(
    alone: Cluster, moor: Callable[..., Any], watched: Watched
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, health_interval=60)
    await end_between_statements(manager, alone, watched)


def test_a_connection_that_ends_between_statements_is_noticed_on_uvloop(
    alone: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libuv stops to watch a socket once it had an error."""
    import uvloop

    async def run() -> None:
        watched = Watched()
        watched.install(monkeypatch)
        async with ConnectionManager(alone.conninfo(), min_size=1, max_size=1) as manager:
            await end_between_statements(manager, alone, watched)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(run(), 10))
    finally:
        loop.close()


async def end_between_statements(manager: Any, alone: Cluster, watched: Watched) -> None:
    with pytest.raises(psycopg.OperationalError):
        async with manager.transaction() as conn:
            fd = await three(conn)
            assert (fd in watched.now) == keeps()
            await alone[0].sql("select pg_terminate_backend(%s)", conn.info.backend_pid)
            await until(lambda: fd not in watched.now)
            await until(conn.has_ended)
            await conn.execute(INSERT)
    assert fd not in watched.now


# -- without a server ------------------------------------------------------------------------------


def reading(sock: socket.socket, wanted: bytes) -> PQGen[bytes]:
    """Return a generator like psycopg's, which reads until *wanted* has come."""
    received = b""
    while not received.endswith(wanted):
        while not (yield WAIT_R):
            pass
        try:
            received += sock.recv(100)
        except BlockingIOError:
            continue
    return received


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("stays", [False, True])
async def test_two_who_wait_at_once_are_both_woken(
    stays: bool, ends: tuple[socket.socket, socket.socket], watched: Watched
) -> None:
    ours, theirs = ends
    readiness = Readiness()
    readiness.stays = stays
    first = asyncio.create_task(readiness.drive(reading(ours, b"1"), ours.fileno()))
    second = asyncio.create_task(readiness.drive(reading(ours, b"2"), ours.fileno()))
    await until(lambda: len(readiness._waiting) == 2)
    theirs.send(b"1")
    assert await first == b"1"
    theirs.send(b"2")
    assert await second == b"2"
    readiness.release()
    assert not watched.now


async def test_the_cancellation_of_one_who_waits_does_not_reach_the_other(
    ends: tuple[socket.socket, socket.socket], watched: Watched
) -> None:
    ours, theirs = ends
    readiness = Readiness()
    readiness.stays = True
    first = asyncio.create_task(readiness.drive(reading(ours, b"1"), ours.fileno()))
    second = asyncio.create_task(readiness.drive(reading(ours, b"2"), ours.fileno()))
    await until(lambda: len(readiness._waiting) == 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    theirs.send(b"2")
    assert await second == b"2"
    readiness.release()
    assert not watched.now


async def test_a_wait_that_is_none_for_reading_is_left_to_psycopg(
    ends: tuple[socket.socket, socket.socket], watched: Watched
) -> None:
    ours, theirs = ends
    readiness = Readiness()
    readiness.stays = True

    def writing() -> PQGen[bytes]:
        yield from reading(ours, b"1")
        assert (yield WAIT_W)
        ours.send(b"2")
        return (yield from reading(ours, b"3"))

    task = asyncio.create_task(readiness.drive(writing(), ours.fileno()))
    theirs.send(b"1")
    assert await asyncio.to_thread(theirs.recv, 1) == b"2"
    theirs.send(b"3")
    assert await task == b"3"
    assert await readiness.drive(ended(7), ours.fileno()) == 7
    with pytest.raises(errors._WaitTimeout):
        await readiness.drive(reading(ours, b"4"), ours.fileno(), timeout=0.01)
    readiness.release()
    assert not watched.now


def ended(value: int) -> PQGen[int]:
    yield from ()
    return value
