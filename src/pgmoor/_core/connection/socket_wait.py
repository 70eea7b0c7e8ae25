"""Runs psycopg's generators on the event loop, with one timer for all statements that wait.

psycopg's own `wait_async()` sets a timer for each wait, so that nobody waits for ever on a socket
that another task has closed. Under load the loop's heap is full of cancelled ones, which cost a
quarter of a short statement's time.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from psycopg import errors, waiting
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from psycopg.abc import PQGen

RV = TypeVar("RV")

INTERVAL = 0.1  # seconds: how often a wait is looked at again; psycopg's own value
LONGEST_RUN = 0.005  # seconds that statements which never wait may keep the event loop busy
READ = Wait.R
NOTHING, READABLE = Ready.NONE, Ready.R


class Ticker:
    """Resumes all waits of one event loop, every `INTERVAL` while there are any."""

    def __init__(self) -> None:
        self.waits: set[asyncio.Future[Ready]] = set()
        self.yielded_at: float = 0.0  # when a wait last gave control to the loop
        self.ticks = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to tick. Not in the context of the caller: the timer serves all."""
        self.ticks = True
        loop.call_later(INTERVAL, self._tick, loop, context=Context())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ticks = False
        for wait in self.waits:
            wake(wait, NOTHING)
        if self.waits:
            self.start(loop)


_tickers: WeakKeyDictionary[asyncio.AbstractEventLoop, Ticker] = WeakKeyDictionary()


def wake(wait: asyncio.Future[Ready], ready: Ready) -> None:
    """End a wait, unless it has ended."""
    if not wait.done():
        wait.set_result(ready)


async def run(gen: PQGen[RV], fd: int) -> RV:
    """Return what a generator returns that waits for the socket *fd*, as `wait_async()` does."""
    loop = get_running_loop()
    ticker = _tickers.get(loop)
    if ticker is None:
        ticker = _tickers[loop] = Ticker()
    try:
        state = next(gen)
        while state == READ:
            state = gen.send(await _until_readable(loop, ticker, fd))
    except StopIteration as end:
        result: RV = end.value
    except OSError as error:
        raise errors.OperationalError("connection socket closed") from error
    else:  # it has much to send: what psycopg does then is as good
        return await waiting.wait_async(_resumed(gen, state), fd, interval=INTERVAL)
    if monotonic() - ticker.yielded_at >= LONGEST_RUN:
        await asyncio.sleep(0)
        ticker.yielded_at = monotonic()
    return result


async def _until_readable(loop: asyncio.AbstractEventLoop, ticker: Ticker, fd: int) -> Ready:
    wait: asyncio.Future[Ready] = loop.create_future()
    loop.add_reader(fd, wake, wait, READABLE)
    ticker.waits.add(wait)
    if not ticker.ticks:
        ticker.start(loop)
    try:
        return await wait
    finally:
        ticker.waits.discard(wait)
        ticker.yielded_at = monotonic()
        loop.remove_reader(fd)


def _resumed(gen: PQGen[RV], state: Wait) -> PQGen[RV]:
    """Go on with a generator that has yielded *state*."""
    while True:
        ready = yield state
        try:
            state = gen.send(ready)
        except StopIteration as end:
            result: RV = end.value
            return result
