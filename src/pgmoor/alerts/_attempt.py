"""One attempt to send, in a daemon thread of its own, bounded in time.

The event loop's executor is not used: a thread of it that hangs keeps others waiting, and the
interpreter from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._channels import Channel
    from ._kinds import Message


class Outcome(NamedTuple):
    """What came of an attempt: why it failed, or None; and the thread that hangs, if one does."""

    failure: str | None
    thread: threading.Thread | None = None


async def attempt(
    channel: Channel, message: Message, timeout: float, sent: Callable[[], None] = lambda: None
) -> Outcome:
    """Send a message, for up to *timeout* seconds; *sent* is called if it is sent, also later."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def settle(failure: str | None) -> None:
        if failure is None:
            sent()
        if not answer.done():
            answer.set_result(failure)

    def work() -> None:
        try:
            failure = channel.send(message)
        except BaseException as error:  # noqa: BLE001  whatever it is, its text may hold a secret
            failure = type(error).__name__
        with contextlib.suppress(RuntimeError):  # the event loop may be closed by now
            loop.call_soon_threadsafe(settle, failure)

    thread = threading.Thread(target=work, name="pgmoor-alerts-send", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        return Outcome(str(error))
    try:
        async with asyncio.timeout(timeout):
            return Outcome(await answer)
    except TimeoutError:
        return Outcome(f"no answer within {timeout:g} s", thread)
