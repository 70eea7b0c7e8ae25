"""Certificates: one that is rejected is reported, and files may be replaced on disk."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pgmoor import NoHostAvailable
from pgmoor.events import HostDown, HostUp
from support import fill, recorder, until
from tls_front import TlsFront, server_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgmoor.testing import Cluster

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Files:
    """A client's files: the CA that it trusts, and its own certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kwargs = {"sslmode": "verify-full", "sslrootcert": str(folder / "ca.pem")}

    def trust(self, authority: trustme.CA) -> None:
        authority.cert_pem.write_to_path(str(self._folder / "ca.pem"))

    def identify_by(self, cert: trustme.LeafCert) -> None:
        key, chain = self._folder / "key.pem", self._folder / "cert.pem"
        cert.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        chain.write_bytes(b"".join(part.bytes() for part in cert.cert_chain_pems))
        self.kwargs |= {"sslkey": str(key), "sslcert": str(chain)}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    found = Files(tmp_path)
    found.trust(authority)
    return found


@pytest.fixture
def front(alone: Cluster, authority: trustme.CA) -> Iterator[TlsFront]:
    """A server whose certificate is good."""
    context = server_context(authority.issue_cert("127.0.0.1"))
    with TlsFront(alone[0].host, alone[0].port, context) as found:
        yield found


BAD = {
    "another CA's": "certificate verify failed",
    "another host's": "does not match host name",
    "expired": "certificate verify failed",
    "missing, the client's": "certificate required",
    "expired, the client's": "certificate expired",
}


def bad_context(name: str, authority: trustme.CA, files: Files) -> Any:
    """Return the context of a server whose certificate the client rejects, or the reverse."""
    match name:
        case "another CA's":
            return server_context(trustme.CA().issue_cert("127.0.0.1"))
        case "another host's":
            return server_context(authority.issue_cert("db.example"))
        case "expired":
            return server_context(authority.issue_cert("127.0.0.1", not_after=LONG_AGO))
        case "expired, the client's":
            files.identify_by(authority.issue_cert("app@example", not_after=LONG_AGO))
    return server_context(authority.issue_cert("127.0.0.1"), client_ca=authority)


@pytest.mark.usefixtures("rare_retries")
@pytest.mark.parametrize("name", BAD)
async def test_a_rejected_certificate_is_reported_and_its_server_dialled_once_in_an_interval(
    front: TlsFront, files: Files, authority: trustme.CA, moor: Callable[..., Any], name: str
) -> None:
    context = bad_context(name, authority, files)
    with TlsFront(*front.target, context) as bad:
        only = await moor(bad, kwargs=files.kwargs)
        waiters = [asyncio.create_task(only.getconn(timeout=30)) for _ in range(5)]
        event = await recorder(only).wait_for(HostDown, where=lambda e: e.status == "rejected")
        both = await moor(bad, front, kwargs=files.kwargs)
        began = monotonic()
        async with both.connection() as conn:
            taken = monotonic() - began
            assert conn.info.port == front.port
        with pytest.raises(NoHostAvailable, match=BAD[name]) as caught:
            await only.getconn(timeout=0.1)
        dials = bad.dials
        for waiter in waiters:
            waiter.cancel()

    assert BAD[name] in event.reason
    assert taken < 2.0, taken  # 0.3 s wanted; a dial may take 5 s
    state = caught.value.hosts[0]
    assert (state.status, state.failure_kind) == ("rejected", "configuration")
    assert dials == 2  # one of each manager's


async def test_probe_and_pool_together_dial_a_server_slowly_whose_certificate_turned_bad(
    front: TlsFront,
    files: Files,
    moor: Callable[..., Any],
    retry_interval: Callable[[float], None],
) -> None:
    retry_interval(2.0)
    manager = await moor(front, kwargs=files.kwargs)
    await fill(manager, 4)
    good, front.context = front.context, server_context(trustme.CA().issue_cert("127.0.0.1"))
    before, began = front.dials, monotonic()
    front.reset()
    await recorder(manager).wait_for(HostDown, where=lambda e: e.status == "rejected")
    with pytest.raises(NoHostAvailable, match="certificate verify failed"):
        await manager.getconn(timeout=0.8)

    rounds = 1 + (monotonic() - began) // 2.0
    assert front.dials <= before + 4 * rounds  # the probe, and three dials at a time
    front.context = good
    async with manager.connection(timeout=10) as conn:  # without a restart of the program
        await conn.execute("select 1")


async def test_the_file_of_trusted_cas_may_be_replaced_while_connections_are_held(
    front: TlsFront, files: Files, moor: Callable[..., Any]
) -> None:
    manager = await moor(front, min_size=2, kwargs=files.kwargs)
    await manager.wait()
    newer = trustme.CA()
    async with manager.connection() as held:
        files.trust(newer)
        front.context = server_context(newer.issue_cert("127.0.0.1"))
        handshakes = len(front.peers)
        await manager.drain()
        async with manager.connection(timeout=3) as conn:
            await conn.execute("select 1")
        await held.execute("select 1")

    assert len(front.peers) > handshakes
    assert len(recorder(manager).of(HostUp)) == 1
    assert not recorder(manager).of(HostDown)


async def test_a_client_certificate_may_be_replaced_while_connections_are_held(
    alone: Cluster, files: Files, authority: trustme.CA, moor: Callable[..., Any]
) -> None:
    files.identify_by(authority.issue_cert("app@example"))
    context = server_context(authority.issue_cert("127.0.0.1"), client_ca=authority)
    with TlsFront(alone[0].host, alone[0].port, context) as front:
        manager = await moor(front, min_size=2, kwargs=files.kwargs)
        await manager.wait()
        old = {peer["serialNumber"] for peer in front.peers}
        async with manager.connection() as held:
            files.identify_by(authority.issue_cert("app@example"))
            await manager.drain()
            await until(lambda: len({peer["serialNumber"] for peer in front.peers}) > 1)
            async with manager.connection(timeout=3) as conn:
                await conn.execute("select 1")
            await held.execute("select 1")

    assert len(old) == 1
    assert front.peers[-1]["serialNumber"] not in old
    assert not recorder(manager).of(HostDown)
