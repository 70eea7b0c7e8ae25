"""`classify`: what real servers, real networks and things that are no servers are taken for."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import signal
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from pgmoor._core.hosts.failures import (
    Failure,
    FailureKind,
    classify,
    kind_of_sqlstate,
    kind_of_text,
)
from pgmoor.testing import Cluster, Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

PASSWORD = "right"
NODES = {"max_connections": "6", "superuser_reserved_connections": "2"}

# What each connection below needs, and nothing else, has been set up for it.
SET_UP = (
    f"ALTER ROLE postgres PASSWORD '{PASSWORD}'",
    f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'",
    f"CREATE ROLE limited LOGIN CONNECTION LIMIT 0 PASSWORD '{PASSWORD}'",
    f"CREATE ROLE asleep NOLOGIN PASSWORD '{PASSWORD}'",
    f"CREATE ROLE banned LOGIN PASSWORD '{PASSWORD}'",
    f"CREATE ROLE expired LOGIN PASSWORD '{PASSWORD}' VALID UNTIL '2001-01-01'",
    "CREATE DATABASE crowded CONNECTION LIMIT 0",
    "CREATE DATABASE secret",
    "REVOKE CONNECT ON DATABASE secret FROM PUBLIC",
    "CREATE DATABASE closed ALLOW_CONNECTIONS false",
)


@pytest.fixture(scope="module", params=[16, 18])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # It belongs to no event loop, so that it may serve all tests, each with a loop of its own.
    running = Cluster(1, version=request.param, auth="scram-sha-256", settings=NODES)
    asyncio.run(set_up(running))
    yield running
    asyncio.run(running.close())


async def set_up(cluster: Cluster) -> None:
    await cluster.open()
    for statement in SET_UP:
        await cluster[0].sql(statement)
    hba = cluster[0].data_dir / "pg_hba.conf"
    hba.write_text(f"host all banned 127.0.0.1/32 reject\n{hba.read_text()}")
    await cluster[0].sql("SELECT pg_reload_conf()")


async def failure(conninfo: str) -> psycopg.Error:
    """Return what a failed connect raises."""
    with pytest.raises(psycopg.Error) as caught:
        await psycopg.AsyncConnection.connect(conninfo)
    return caught.value


def at(node: Node, *, password: str = PASSWORD, **params: str) -> str:
    return node.conninfo(password=password, **params)


def on_socket(node: Node, **params: str) -> str:
    return node.conninfo(**{"host": node.socket_dir, **params})


# -- what a server answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conninfo", "kind"),
    [
        pytest.param(
            lambda node: at(node, password="wrong"), FailureKind.CREDENTIALS, id="wrong password"
        ),
        pytest.param(lambda node: node.conninfo(), FailureKind.CREDENTIALS, id="no password"),
        pytest.param(
            lambda node: at(node, user="ghost"), FailureKind.CREDENTIALS, id="unknown role"
        ),
        pytest.param(
            lambda node: on_socket(node, user="ghost"),
            FailureKind.CREDENTIALS,
            id="unknown role, trusted",
        ),
        pytest.param(
            lambda node: at(node, user="asleep"), FailureKind.CREDENTIALS, id="role without login"
        ),
        pytest.param(
            lambda node: at(node, user="expired"), FailureKind.CREDENTIALS, id="expired password"
        ),
        pytest.param(
            lambda node: at(node, user="banned"),
            FailureKind.CREDENTIALS,
            id="rejected by pg_hba.conf",
        ),
        pytest.param(
            lambda node: at(node, dbname="nowhere"),
            FailureKind.CONFIGURATION,
            id="unknown database",
        ),
        pytest.param(
            lambda node: at(node, user="app", dbname="secret"),
            FailureKind.CONFIGURATION,
            id="no right to connect",
        ),
        pytest.param(
            lambda node: at(node, dbname="closed"),
            FailureKind.CONFIGURATION,
            id="database that accepts no connections",
        ),
        pytest.param(
            lambda node: at(node, options="-c nonsense=1"),
            FailureKind.CONFIGURATION,
            id="options it does not know",
        ),
        pytest.param(
            lambda node: at(node, sslmode="require"),
            FailureKind.CONFIGURATION,
            id="no TLS where it is required",
        ),
        pytest.param(
            lambda node: at(node, sslmode="nonsense"),
            FailureKind.CONFIGURATION,
            id="a parameter libpq can't use",
        ),
        pytest.param(
            lambda node: at(node, user="limited"),
            FailureKind.SATURATED,
            id="the role's connection limit",
        ),
        pytest.param(
            lambda node: at(node, user="app", dbname="crowded"),
            FailureKind.SATURATED,
            id="the database's connection limit",
        ),
    ],
)
async def test_what_a_server_answers(
    cluster: Cluster, conninfo: Callable[[Node], str], kind: FailureKind
) -> None:
    error = await failure(conninfo(cluster[0]))

    assert (classify(error), str(error)) == (kind, str(error))


@pytest.mark.parametrize("held", [4, 6], ids=["but for reserved slots", "altogether"])
async def test_a_server_whose_slots_are_taken_is_saturated(cluster: Cluster, held: int) -> None:
    conns = [
        await psycopg.AsyncConnection.connect(at(cluster[0], user="postgres")) for _ in range(held)
    ]

    error = await failure(at(cluster[0], user="app"))

    for conn in conns:
        await conn.close()
    assert (classify(error), str(error)) == (FailureKind.SATURATED, str(error))


@pytest.mark.parametrize(
    ("statement", "expected", "kind"),
    [
        (
            "SELECT pg_terminate_backend(pg_backend_pid())",
            errors.AdminShutdown,
            FailureKind.RESET,
        ),
        ("SELECT 1/0", errors.DivisionByZero, FailureKind.OTHER),
        ("SELECT pg_read_file('x')", errors.UndefinedFile, FailureKind.RESOURCES),
    ],
)
async def test_an_error_with_a_sqlstate_is_what_that_says(
    cluster: Cluster, statement: str, expected: type[psycopg.Error], kind: FailureKind
) -> None:
    conn = await psycopg.AsyncConnection.connect(at(cluster[0]))

    with pytest.raises(expected) as caught:
        await conn.execute(statement.encode())

    await conn.close()
    assert classify(caught.value) is kind


async def test_a_server_that_waits_for_its_last_session_is_starting_not_down(
    cluster: Cluster,
) -> None:
    session = await psycopg.AsyncConnection.connect(at(cluster[0]))
    cluster[0].member.server.signal(signal.SIGTERM)  # a smart shutdown

    error = await the_first_that_says("shutting down", at(cluster[0]))

    assert classify(error) is FailureKind.STARTING
    await session.close()
    await cluster[0].stop("fast")
    await cluster[0].start()


async def test_a_standby_that_serves_nobody_is_starting_not_down(cluster: Cluster) -> None:
    standby = cluster[1]
    await standby.sql("ALTER SYSTEM SET hot_standby = off")
    await standby.stop("fast")
    await standby.start(wait=False)

    error = await the_first_that_says("not accepting connections", at(standby))

    assert classify(error) is FailureKind.STARTING
    await standby.stop("immediate")


async def the_first_that_says(words: str, conninfo: str) -> psycopg.Error:
    """Return the first failure with these words; until then every failure is one of starting."""
    async with asyncio.timeout(10):
        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(conninfo)
            except psycopg.Error as error:
                if words in str(error):
                    return error
                if classify(error) not in (FailureKind.STARTING, FailureKind.REFUSED):
                    raise
            else:
                await conn.close()
            await asyncio.sleep(0.005)


# -- no server ----------------------------------------------------------------------------------


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("conninfo", "kind"),
    [
        pytest.param("host=127.0.0.1 port={port}", FailureKind.REFUSED, id="nobody listens"),
        pytest.param("host=/nonexistent", FailureKind.REFUSED, id="no such socket"),
        pytest.param("host=db.invalid", FailureKind.NAME, id="a name that nobody has"),
    ],
)
async def test_what_a_host_without_a_server_is_taken_for(conninfo: str, kind: FailureKind) -> None:
    conninfo = conninfo.format(port=unused_port())

    awaited = await failure(conninfo)
    with pytest.raises(psycopg.Error) as blocking:
        await asyncio.to_thread(lambda: psycopg.connect(conninfo))

    assert (classify(awaited), classify(blocking.value)) == (kind, kind), str(awaited)


@asynccontextmanager
async def listener(
    answer: bytes, *, reset: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Listen on a port, answer whatever is said there, and hang up; yield how to get there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        if tls is not None:
            # The client may not like the certificate.
            with suppress(ssl.SSLError, OSError):
                await writer.start_tls(tls)
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"host=127.0.0.1 port={port} user=app password={PASSWORD}"


@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"-ERR unknown command\r\n",
        b"J\0\0\0\n8.0.36\0",
        b"\0\xff\xfe\xfd garbage",
    ],
    ids=["HTTP", "SMTP", "Redis", "MySQL", "garbage"],
)
async def test_what_is_no_postgresql_is_a_matter_of_protocol(answer: bytes, sslmode: str) -> None:
    async with listener(answer) as conninfo:
        error = await failure(f"{conninfo} sslmode={sslmode}")

    assert (classify(error), str(error)) == (FailureKind.PROTOCOL, str(error))


async def test_an_ssh_server_is_a_matter_of_protocol() -> None:
    # Its first letter is the one by which PostgreSQL agrees to TLS.
    async with listener(b"SSH-2.0-OpenSSH_9.2\r\n") as conninfo:
        error = await failure(f"{conninfo} sslmode=prefer")

    assert (classify(error), str(error)) == (FailureKind.PROTOCOL, str(error))


async def test_a_server_that_hangs_up_in_the_tls_handshake_is_a_reset() -> None:
    async with listener(b"S") as conninfo:
        error = await failure(f"{conninfo} sslmode=require")

    assert (classify(error), str(error)) == (FailureKind.RESET, str(error))


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("sslmode", ["disable", "require"])
async def test_a_connection_that_is_cut_at_once_is_a_reset(sslmode: str, reset: bool) -> None:
    async with listener(b"", reset=reset) as conninfo:
        error = await failure(f"{conninfo} sslmode={sslmode}")

    assert (classify(error), str(error)) == (FailureKind.RESET, str(error))


async def test_a_dial_that_is_late_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await psycopg.AsyncConnection.connect(f"host=127.0.0.1 port={deaf.getsockname()[1]}")

    assert classify(caught.value) is FailureKind.TIMEOUT


# -- certificates -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate that nobody signed, for a host that is elsewhere."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl, which is not here")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=elsewhere.example", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param("sslmode=verify-full sslrootcert={cert}", id="another host's"),
        pytest.param("sslmode=verify-ca sslrootcert=system", id="signed by nobody we trust"),
        pytest.param("sslmode=verify-ca sslrootcert=/nonexistent", id="nobody is trusted"),
    ],
)
async def test_a_certificate_that_does_not_fit_is_a_matter_of_configuration(
    certificate: tuple[Path, ssl.SSLContext], parameters: str
) -> None:
    cert, context = certificate
    if "system" in parameters:
        parameters = parameters.replace("verify-ca", "verify-full")  # all that libpq allows
    async with listener(b"S", tls=context) as conninfo:
        error = await failure(f"{conninfo} {parameters.format(cert=cert)}")

    assert (classify(error), str(error)) == (FailureKind.CONFIGURATION, str(error))


# -- without any server -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("08000", FailureKind.RESET),
        ("08006", FailureKind.RESET),
        ("57P01", FailureKind.RESET),
        ("57P02", FailureKind.RESET),
        ("57P03", FailureKind.STARTING),
        ("53300", FailureKind.SATURATED),
        ("53100", FailureKind.RESOURCES),
        ("53200", FailureKind.RESOURCES),
        ("58030", FailureKind.RESOURCES),
        ("28P01", FailureKind.CREDENTIALS),
        ("28000", FailureKind.CREDENTIALS),
        ("3D000", FailureKind.CONFIGURATION),
        ("42501", FailureKind.CONFIGURATION),
        ("57014", FailureKind.OTHER),
        ("57P05", FailureKind.OTHER),
        ("40001", FailureKind.OTHER),
        ("25006", FailureKind.OTHER),
    ],
)
def test_each_sqlstate_stands_for_its_kind(sqlstate: str, kind: FailureKind) -> None:
    assert kind_of_sqlstate(sqlstate) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), FailureKind.TIMEOUT),
        (socket.gaierror(-2, "Name or service not known"), FailureKind.NAME),
        (ConnectionRefusedError(111, "refusé"), FailureKind.REFUSED),
        (FileNotFoundError(2, "introuvable"), FailureKind.REFUSED),
        (ConnectionResetError(104, "Connection reset by peer"), FailureKind.RESET),
        (OSError(113, "No route to host"), FailureKind.REFUSED),
        (errors.ConnectionTimeout("connection timeout expired"), FailureKind.TIMEOUT),
        (errors.TooManyConnections("Verbindung refused"), FailureKind.SATURATED),
        (psycopg.OperationalError("the connection is closed"), FailureKind.RESET),
        (ValueError("something else"), FailureKind.OTHER),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else value.name,
)
def test_an_exception_is_known_by_its_class_before_its_text(
    error: BaseException, kind: FailureKind
) -> None:
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("received unencrypted data after SSL response", FailureKind.PROTOCOL),
        ("SSL error: wrong version number", FailureKind.PROTOCOL),
        ("SSL error: tlsv1 alert unknown ca", FailureKind.CONFIGURATION),
        ("SSL error: tlsv13 alert certificate required", FailureKind.CONFIGURATION),
        ("SSL error: ssl/tls alert certificate expired", FailureKind.CONFIGURATION),
        ("SSL error: ssl/tls alert bad certificate", FailureKind.CONFIGURATION),
        ("SSL error: ssl/tls alert handshake failure", FailureKind.CONFIGURATION),
        ("SSL error: tlsv1 alert protocol version", FailureKind.CONFIGURATION),
        ("authentication method 11 not supported", FailureKind.CONFIGURATION),
        ("received invalid authentication request", FailureKind.PROTOCOL),
        ("received invalid protocol negotiation message", FailureKind.PROTOCOL),
        ("server sent an error response during SSL exchange", FailureKind.PROTOCOL),
        ("FATAL:  connection requires a valid client certificate", FailureKind.CREDENTIALS),
        ("host name must be specified for a verified SSL connection", FailureKind.CONFIGURATION),
        ("SSL connection has been closed unexpectedly", FailureKind.RESET),
        ("could not receive data from server: Connection timed out", FailureKind.TIMEOUT),
        ("FATAL:  the database system is in recovery mode", FailureKind.STARTING),
    ],
)
def test_texts_that_are_hard_to_provoke(text: str, kind: FailureKind) -> None:
    assert kind_of_text(f'connection to server at "10.0.0.1", port 5432 failed: {text}') is kind


@given(st.text() | st.text(alphabet='role "database does not exist'))
def test_any_text_is_of_some_kind(text: str) -> None:
    assert isinstance(kind_of_text(text), FailureKind)


@given(st.text())
def test_any_sqlstate_is_of_some_kind(sqlstate: str) -> None:
    assert isinstance(kind_of_sqlstate(sqlstate), FailureKind)


def test_a_failure_reads_as_its_text_and_survives_pickling() -> None:
    refused = Failure(FailureKind.REFUSED, "Connection refused")

    assert str(refused) == "Connection refused"
    assert pickle.loads(pickle.dumps(refused)) == refused
