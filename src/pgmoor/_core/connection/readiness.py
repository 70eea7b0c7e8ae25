"""Waits for a connection's socket; every answer that is read as soon as it comes is awaited here.

psycopg has the event loop watch the socket for each wait, and sets a timer beside it. This costs
the client more than all else that it does for a short statement. Here is no timer, and the socket
can stay watched from one statement to the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import errors, waiting

if TYPE_CHECKING:
    from psycopg.abc import PQGen

RV = TypeVar("RV")
READ = waiting.WAIT_R
READABLE = waiting.READY_R
RELIABLE = asyncio.SelectorEventLoop  # calls for as long as there is something to read


class Readiness:
    """Runs psycopg's generators on one socket, which the event loop watches meanwhile.

    While `stays` is True it remains watched by asyncio's own event loop. Others may watch a socket
    no longer once it had an error: libuv doesn't, and the next wait would have no end. Call
    `stop()` before the socket is closed: another one may get its number.
    """

    __slots__ = ("_fd", "_loop", "_read", "_waiting", "stays", "waited")

    def __init__(self) -> None:
        self.stays: bool = False
        self.waited: bool = False  # whether the newest generator has waited for the socket
        self._fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that watches
        self._waiting: list[asyncio.Future[None]] = []
        self._read = False  # whether the next call may be about what has been read meanwhile

    async def drive(
        self, gen: PQGen[RV], fd: int, interval: float = 0.1, timeout: float | None = None
    ) -> RV:
        """Run a generator to its end and return its result; as psycopg's `wait_async()` does."""
        self.waited = False
        try:
            state = next(gen)
        except StopIteration as ended:
            # psycopg lets others have a turn now and then.
            return await waiting.wait_async(_ended(ended.value), fd, interval)
        self.waited = True
        try:
            while state == READ and timeout is None:
                await self._readable(fd)
                state = gen.send(READABLE)
            self.stop()  # psycopg watches the same socket
            return await waiting.wait_async(_resumed(gen, state), fd, interval, timeout)
        except StopIteration as ended:
            result: RV = ended.value
            return result
        except OSError as error:
            self.stop()
            raise errors.OperationalError("connection socket closed") from error
        except BaseException:
            self.stop()
            raise

    def release(self) -> None:
        """Have the socket watched only while somebody waits for it."""
        self.stays = False
        if not self._waiting:
            self.stop()

    def stop(self) -> None:
        """Have the event loop watch the socket no longer; whoever waits for it looks again."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._fd)
        self._read = False
        self._wake()

    async def _readable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self.stop()
            loop.add_reader(fd, self._on_readable)
            self._loop, self._fd = loop, fd
        future = loop.create_future()
        self._waiting.append(future)
        try:
            await future
            self._read = True
        finally:
            self._waiting.remove(future)
            if not (self._waiting or (self.stays and isinstance(loop, RELIABLE))):
                self.stop()

    def _on_readable(self) -> None:
        if self._read:
            # asyncio had looked before the task read. If there is more, it will call again.
            self._read = False
            return
        if not self._waiting:
            self.stop()  # or this would be called for ever; the next wait finds it readable
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


def _ended(value: RV) -> PQGen[RV]:
    """Return a generator that ends with *value* and waits for nothing."""
    yield from ()
    return value


def _resumed(gen: PQGen[RV], state: Any) -> PQGen[RV]:
    """Return a generator that goes on with *gen*, which waits for *state*."""
    try:
        while True:
            ready = yield state
            state = gen.send(ready)
    except StopIteration as ended:
        result: RV = ended.value
        return result
