"""A dial of a probe that is given up at the instant in which its session is made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pgmoor._core.failover.attempts import Dial
from pgmoor._core.hosts.hearing import Hearing

if TYPE_CHECKING:
    from pgmoor._core.connection.progress import DialProgress


class Session:
    """What a dial makes."""

    def __init__(self) -> None:
        self.discarded = 0

    def discard(self) -> None:
        self.discarded += 1


async def test_a_session_that_comes_too_late_is_closed() -> None:
    made, session = asyncio.Event(), Session()

    async def connect(_: DialProgress) -> Any:
        await made.wait()
        return session

    dial = Dial(Hearing(), connect, lambda: None, renews=False)
    await asyncio.sleep(0)
    made.set()  # the task is to run in the next turn of the loop
    dial.cancel()
    await dial.task

    assert session.discarded == 1
    assert dial.conn is None
