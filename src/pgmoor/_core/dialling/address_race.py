"""Connects to the first address of a name that answers (RFC 8305, "Happy Eyeballs")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

from pgmoor._core.hosts.failures import FailureKind, classify, is_wrong_password

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgmoor._core.connection.abortable import AbortableConnection

# Seconds that one address is given before the next one is tried beside it ("Connection Attempt
# Delay"; RFC 8305 recommends 0.25 s).
HEAD_START = 0.25


async def race(
    addresses: Sequence[str], connect: Callable[[str], Awaitable[AbortableConnection]]
) -> tuple[str, AbortableConnection]:
    """Return the first address that answers, and the connection to it.

    Raises the most telling of the errors when none does.
    """
    won: list[tuple[str, AbortableConnection]] = []
    failed: list[Exception] = []

    async def run(address: str, over: asyncio.Event) -> None:
        try:
            conn = await connect(address)
        except Exception as error:  # noqa: BLE001  `connection_class` is the user's
            failed.append(error)
        else:
            if won:  # another was ready in the same turn of the loop
                conn.discard()
            else:
                won.append((address, conn))
                group.cancel_scope.cancel()
        over.set()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                if any(is_wrong_password(error) for error in failed):
                    break  # as in libpq: each attempt counts where accounts are locked
                over = asyncio.Event()
                group.start_soon(run, address, over)
                with anyio.move_on_after(HEAD_START):
                    await over.wait()
    except BaseException:
        for _, conn in won:  # it came in the turn in which the time was up
            conn.discard()
        raise
    if won:
        return won[0]
    raise min(failed, key=_uninformative)


def _uninformative(error: Exception) -> tuple[bool, bool]:
    """Return a key by which the most telling error comes first.

    A server's word on the password tells most, a kernel's refusal least.
    """
    return not is_wrong_password(error), classify(error) is FailureKind.REFUSED
