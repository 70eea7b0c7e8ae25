"""examples/production.py: verified TLS, a secret that is rotated, metrics and health probes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest
import trustme

from pgmoor.testing import Cluster
from pgmoor.testing._ports import free_port
from serving import program
from tls_front import TlsFront, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = ("uvicorn", "production:app", "--port=0", "--timeout-graceful-shutdown=20")


@pytest.fixture
async def locked() -> AsyncIterator[Cluster]:
    """A server that wants a password, with the role, the database and the table of the example."""
    async with Cluster(standbys=0, auth="scram-sha-256") as cluster:
        await cluster[0].sql("create role app login password 'first'")
        await cluster[0].sql("create database orders owner app")
        await cluster[0].sql("create table orders (number int, status text)", dbname="orders")
        await cluster[0].sql("insert into orders values (7, 'paid')", dbname="orders")
        await cluster[0].sql("grant select on orders to app", dbname="orders")
        yield cluster


@pytest.fixture
def front(locked: Cluster, tmp_path: Path) -> Iterator[TlsFront]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = server_context(authority.issue_cert("127.0.0.1"))
    with TlsFront(locked[0].host, locked[0].port, context) as found:
        yield found


async def test_it_serves_over_tls_through_a_rotation_of_its_password(
    locked: Cluster, front: TlsFront, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("first\n")
    variables = {
        "DB_HOSTS": f"127.0.0.1:{front.port}",
        "DB_CA": str(tmp_path / "ca.pem"),
        "DB_PASSWORD_FILE": str(secret),
        "PGMOOR_ALERTS": "json://127.0.0.1:9",  # no alert is due
        "METRICS_PORT": str(port := free_port()),
    }
    async with program(*COMMAND, cwd=EXAMPLES, **variables) as server:
        async with httpx.AsyncClient(base_url=await server.url(), timeout=10) as client:
            shown = await client.get("/orders/7")
            missing = await client.get("/orders/8")
            ready = await client.get("/readyz")
            metrics = await client.get(f"http://127.0.0.1:{port}/metrics")
            public = await client.get("/metrics")

            await locked[0].sql("alter role app password 'second'")
            secret.write_text("second\n")
            front.reset()
            after = await client.get("/orders/7")
        await server.terminate(10)

    assert shown.json() == after.json() == {"number": 7, "status": "paid"}, server.output
    assert missing.status_code == 404
    assert ready.status_code == 200
    assert 'pgmoor_ready{manager="orders"} 1.0' in metrics.text
    assert public.status_code == 404
    assert "Traceback" not in server.output, server.output
