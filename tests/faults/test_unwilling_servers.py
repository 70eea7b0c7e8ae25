"""What answers is not PostgreSQL: callers lose a bounded time, and the error says why."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

import impostors
from impostors import Impostor
from pgmoor import NoHostAvailable
from pgmoor._core.hosts.failures import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor.testing import Cluster

# How each of them is classified, and by which text.
EXPECTED = {
    impostors.http: (FailureKind.PROTOCOL, "received invalid response to SSL negotiation: H"),
    impostors.garbage: (FailureKind.PROTOCOL, "received invalid response to SSL negotiation"),
    impostors.slam: (FailureKind.RESET, "server closed the connection unexpectedly"),
    impostors.huge_request: (FailureKind.PROTOCOL, "received invalid authentication request"),
    impostors.huge_status: (FailureKind.PROTOCOL, "lost synchronization with server"),
    impostors.drop_by_drop: (FailureKind.TIMEOUT, "no answer within"),
}
LIMIT = 2.0  # seconds; longer than a probe takes to give up


@pytest.fixture
def crowd() -> Iterator[list[Impostor]]:
    """One impostor of each kind, in the order of `EXPECTED`."""
    with ExitStack() as stack:
        yield [stack.enter_context(Impostor(say, eager=say is impostors.slam)) for say in EXPECTED]


async def test_alone_they_fail_callers_at_their_deadline_and_the_error_says_why(
    crowd: list[Impostor], moor: Callable[..., Any]
) -> None:
    memory = _resident()

    async def call(impostor: Impostor) -> NoHostAvailable:
        manager = await moor(impostor, timeout=LIMIT)
        began = monotonic()
        with pytest.raises(NoHostAvailable) as caught:
            await manager.getconn()
        assert LIMIT - 0.05 < monotonic() - began < LIMIT + 1  # 0.1 s wanted
        await manager.close()
        return caught.value

    errors = await asyncio.gather(*map(call, crowd))

    for error, (say, (kind, text)) in zip(errors, EXPECTED.items(), strict=True):
        assert error.hosts[0].failure_kind == kind.value, (say.__name__, str(error))
        assert text in str(error), (say.__name__, str(error))
        assert len(str(error)) < 400, say.__name__
        assert str(error).isprintable(), say.__name__
    assert _resident() - memory < 64 << 20
    # A search probes more and more slowly, up to once a second.
    assert all(1 <= impostor.dials <= 15 for impostor in crowd), [item.dials for item in crowd]


async def test_as_first_hosts_they_delay_only_the_first_checkout(
    crowd: list[Impostor], alone: Cluster, moor: Callable[..., Any]
) -> None:
    async def check_out(impostor: Impostor) -> tuple[float, float]:
        manager = await moor(impostor, alone[0], min_size=1)
        began = monotonic()
        async with manager.connection() as conn:
            first = monotonic() - began
            assert conn.info.port == alone[0].port
        began = monotonic()
        async with manager.connection():
            pass
        return first, monotonic() - began

    took = await asyncio.gather(*map(check_out, crowd))

    for (first, second), say in zip(took, EXPECTED, strict=True):
        assert first < 1.0, (say.__name__, first)  # 0.3 s wanted
        assert second < 0.1, (say.__name__, second)


async def test_an_endless_error_message_of_a_server_is_cut_and_made_printable(
    moor: Callable[..., Any],
) -> None:
    def shout() -> Iterator[tuple[float, bytes]]:
        message = b"SFATAL\0C28000\0M\x1b[2J\x07" + b"no " * 9_000 + b"\0\0"
        yield 0, b"N"
        yield 0.01, b"E" + (len(message) + 4).to_bytes(4) + message

    with Impostor(shout) as impostor:
        manager = await moor(impostor, timeout=0.3)
        with pytest.raises(NoHostAvailable) as caught:
            await manager.getconn()
        await manager.close()

    assert "no no no" in str(caught.value)
    assert len(str(caught.value)) < 1_000, len(str(caught.value))
    assert str(caught.value).isprintable()


def _resident() -> int:
    """Return how much memory this process uses, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
