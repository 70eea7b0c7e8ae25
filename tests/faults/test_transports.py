"""The same faults over TLS with `verify-full`, and over a Unix socket."""

from __future__ import annotations

from contextlib import ExitStack
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pgmoor.events import OutageEnded, OutageStarted, Stalled
from pgmoor.testing import FaultProxy
from support import Workload, both_loops, fail_over, fall_silent, only_aborted, recorder
from tls_front import TlsFront, server_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgmoor.testing import Cluster, Node


class VerifiedTls:
    """Puts two proxies before a server: one for faults of the network, then one for TLS."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        authority = trustme.CA()
        file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(file))
        self.kwargs = {"sslmode": "verify-full", "sslrootcert": str(file)}
        self._context = server_context(authority.issue_cert("127.0.0.1"))
        self._stack = stack

    def to(self, node: Node) -> FaultProxy:
        front = self._stack.enter_context(TlsFront(node.host, node.port, self._context))
        return self._stack.enter_context(FaultProxy(front.host, front.port))


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[VerifiedTls]:
    with ExitStack() as stack:
        yield VerifiedTls(tmp_path, stack)


@both_loops
async def test_callers_over_tls_work_again_right_after_a_promotion(
    pair: Cluster, tls: VerifiedTls, moor: Callable[..., Any]
) -> None:
    manager = await moor(*map(tls.to, pair), kwargs=tls.kwargs)
    async with Workload(manager) as work:
        async with manager.connection() as conn:
            assert conn.pgconn.ssl_in_use
        back = await fail_over(pair, work)
        async with manager.connection() as conn:
            assert conn.pgconn.ssl_in_use

    assert back < 1.0, back  # 0.1 s wanted
    assert len(work.failed) <= 8, work.errors()


@both_loops
async def test_callers_over_tls_leave_a_silent_primary_and_errors_say_why(
    pair: Cluster, tls: VerifiedTls, moor: Callable[..., Any]
) -> None:
    doors = [tls.to(node) for node in pair]
    manager = await moor(*doors, health_interval=0.1, kwargs=tls.kwargs)
    async with Workload(manager) as work:
        back = await fall_silent(manager, doors[0], pair[1], work)

    assert back < 1.2, back  # 0.3 s wanted
    only_aborted(work, f"127.0.0.1:{doors[0].port}")


@both_loops
async def test_callers_over_a_unix_socket_wait_while_the_only_server_restarts_and_freezes(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    socket = SimpleNamespace(host=alone[0].socket_dir, port=alone[0].port)
    manager = await moor(socket, health_interval=0.1, health_timeout=0.2)
    async with Workload(manager) as work:
        await alone[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        failed = len(work.failed)
        await alone[0].start()
        assert await work.back(monotonic()) < 2.0  # 1 s wanted
        await recorder(manager).wait_for(OutageEnded)

        await alone[0].freeze()
        await recorder(manager).wait_for(Stalled)
        await alone[0].thaw()
        assert await work.back(monotonic()) < 1.5

    assert len(work.failed) == failed <= 8, work.errors()
    async with manager.connection() as conn:
        assert conn.info.host == alone[0].socket_dir
