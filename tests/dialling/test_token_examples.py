"""examples/tokens, which the page on secrets shows: each against an endpoint like its vendor's."""

from __future__ import annotations

import importlib.util
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio

from pgmoor import ConnectionManager, Host
from pgmoor.testing import Cluster
from support import fill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
AZURE = "https%3A%2F%2Fossrdbms-aad.database.windows.net"
GOOGLE = "https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fsqlservice.login"
KEYS = {
    "AccessKeyId": "AKIDEXAMPLE",
    "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "Token": "AQoD/YXdz+EA==",
}


class Endpoint(ThreadingHTTPServer):
    """Answers one request for a secret, and only that; counts the answers."""

    def __init__(self, path: str, header: tuple[str, str], answer: dict[str, Any]) -> None:
        endpoint = self
        self.given = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                good = (self.path, self.headers[header[0]]) == (path, header[1])
                endpoint.given += good
                self.send_response(200 if good else 403)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode() if good else b"")

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[str]:
    thread = threading.Thread(target=endpoint.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield endpoint.address
    finally:
        endpoint.shutdown()
        thread.join()
        endpoint.server_close()


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "tokens" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ENDPOINTS: dict[str, tuple[str, tuple[str, str], dict[str, Any], dict[str, str]]] = {
    "vault": (
        "/v1/database/static-creds/app",
        ("X-Vault-Token", "hvs.example"),
        {"data": {"username": "app", "password": "from the vault", "ttl": 3600}},
        {"VAULT_ADDR": "http://{}", "VAULT_TOKEN": "hvs.example"},
    ),
    "rds": (
        "/v1/credentials",
        ("Authorization", "eks"),
        {**KEYS, "Expiration": "2026-03-01T18:00:00Z"},
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://{}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{token}",
            "AWS_REGION": "eu-central-1",
        },
    ),
    "azure": (
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + AZURE,
        ("Metadata", "true"),
        {"access_token": "from azure", "expires_in": "3599", "expires_on": f"{time() + 3599:.0f}"},
        {"IMDS": "http://{}"},
    ),
    "cloudsql": (
        "/computeMetadata/v1/instance/service-accounts/default/token?scopes=" + GOOGLE,
        ("Metadata-Flavor", "Google"),
        {"access_token": "from google", "expires_in": 3599, "token_type": "Bearer"},
        {"GCE_METADATA_HOST": "{}"},
    ),
}


class StoppedClock(datetime):
    """A clock that shows the same time to the test and to the example."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return NOW.astimezone(tz)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded() -> AsyncIterator[Cluster]:
    async with Cluster(standbys=0, auth="scram-sha-256") as cluster:
        await cluster[0].sql("create role app login")
        yield cluster


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_an_example_logs_in_with_what_its_vendor_gives_and_keeps_it(
    name: str, guarded: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("eks")
    path, header, answer, variables = ENDPOINTS[name]
    endpoint = Endpoint(path, header, answer)
    server = guarded[0]
    with serving(endpoint) as address:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value.format(address, token=tmp_path / "token"))
        module = example(name)
        value = answer.get("access_token") or answer.get("data", {}).get("password")
        if name == "rds":
            monkeypatch.setattr(module, "datetime", StoppedClock)
            value = module.sign(Host(server.host, server.port), "eu-central-1", KEYS, NOW)
        quoted = "'" + value + "'"
        await server.sql(f"alter role app password {quoted}")

        async with ConnectionManager(
            f"host={server.host} port={server.port} user=app dbname=postgres",
            password=module.password,
            min_size=2,
            max_size=4,
        ) as manager:
            await manager.drain()
            assert len(await fill(manager, 4)) == 4

    assert endpoint.given == 1


def test_the_example_for_rds_signs_as_the_vendors_package_does() -> None:
    """The signature is that of botocore 1.44.8, `generate_db_auth_token()`, for these values."""
    host = Host("orders.abc.eu-central-1.rds.amazonaws.com", 5432)
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    token = urlsplit("https://" + example("rds").sign(host, "eu-central-1", KEYS, at))

    assert token.netloc == f"{host.host}:{host.port}"
    assert dict(parse_qsl(token.query)) == {
        "Action": "connect",
        "DBUser": "app",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIDEXAMPLE/20260301/eu-central-1/rds-db/aws4_request",
        "X-Amz-Date": "20260301T120000Z",
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Security-Token": "AQoD/YXdz+EA==",
        "X-Amz-Signature": "31deed40313741228d945ea32542a3781c01322203ea3cc83bb21a27c598e709",
    }


def test_the_page_shows_every_example_that_is_tested_here() -> None:
    page = (ROOT / "docs" / "secrets.md").read_text(encoding="utf-8")
    files = {path.stem for path in (ROOT / "examples" / "tokens").glob("*.py")}
    assert files == set(ENDPOINTS)
    assert all(f'--8<-- "examples/tokens/{name}.py"' in page for name in files)
