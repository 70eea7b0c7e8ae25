"""`classify`: what the errors of real servers, networks and things that are no servers mean."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import signal
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from pgmoor._core.connection.abortable import AbortableConnection
from pgmoor._core.hosts.failures import (
    Failure,
    FailureKind,
    classify,
    kind_of_sqlstate,
    kind_of_text,
)
from pgmoor.testing import Cluster, Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PASSWORD = "right"
NODES = {"max_connections": "6", "superuser_reserved_connections": "2"}

# What the connections below need.
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
    # It belongs to no event loop, so that all tests can use it, each with a loop of its own.
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


async def failure(
    conninfo: str, cls: type[psycopg.AsyncConnection[Any]] = psycopg.AsyncConnection
) -> psycopg.Error:
    """Return what a failed connect raises."""
    with pytest.raises(psycopg.Error) as caught:
        await cls.connect(conninfo)
    return caught.value


def at(node: Node, *, password: str = PASSWORD, **params: str) -> str:
    return node.conninfo(password=password, **params)


# -- what a server answers ----------------------------------------------------------------------


async def test_what_a_server_answers_to_a_connection_that_it_does_not_want(
    cluster: Cluster,
) -> None:
    node = cluster[0]
    expected = {
        FailureKind.CREDENTIALS: {
            "wrong password": at(node, password="wrong"),
            "no password": node.conninfo(),
            "unknown role": at(node, user="ghost"),
            "unknown role, trusted": node.conninfo(host=node.socket_dir, user="ghost"),
            "role without login": at(node, user="asleep"),
            "expired password": at(node, user="expired"),
            "rejected by pg_hba.conf": at(node, user="banned"),
        },
        FailureKind.CONFIGURATION: {
            "unknown database": at(node, dbname="nowhere"),
            "no right to connect": at(node, user="app", dbname="secret"),
            "database that accepts no connections": at(node, dbname="closed"),
            "options it does not know": at(node, options="-c nonsense=1"),
            "no TLS where it is required": at(node, sslmode="require"),
            "a parameter libpq can't use": at(node, sslmode="nonsense"),
        },
        FailureKind.SATURATED: {
            "the role's connection limit": at(node, user="limited"),
            "the database's connection limit": at(node, user="app", dbname="crowded"),
        },
    }

    for kind, conninfos in expected.items():
        for name, conninfo in conninfos.items():
            error = await failure(conninfo)
            assert classify(error) is kind, f"{name}: {error}"
            ours = await failure(conninfo, AbortableConnection)
            assert str(ours) == str(error)
            if "FATAL:" in str(error):  # the server has said so, and its SQLSTATE tells
                assert ours.sqlstate
                translated = psycopg.OperationalError("connection failed: FATAL:  やめ")
                translated.sqlstate = ours.sqlstate
                assert classify(translated) is kind, f"{name}: {ours.sqlstate}"


@pytest.mark.parametrize("held", [4, 6], ids=["but the reserved ones", "all"])
async def test_a_server_whose_slots_are_taken_is_saturated(cluster: Cluster, held: int) -> None:
    conns = [
        await psycopg.AsyncConnection.connect(at(cluster[0], user="postgres")) for _ in range(held)
    ]

    error = await failure(at(cluster[0], user="app"))

    for conn in conns:
        await conn.close()
    assert classify(error) is FailureKind.SATURATED, error


async def test_an_error_with_a_sqlstate_means_what_that_says(cluster: Cluster) -> None:
    for statement, expected, kind in (
        ("SELECT pg_terminate_backend(pg_backend_pid())", errors.AdminShutdown, FailureKind.RESET),
        ("SELECT 1/0", errors.DivisionByZero, FailureKind.STATEMENT),
        ("SET nonsense = 1", errors.UndefinedObject, FailureKind.STATEMENT),
        ("SET ROLE ghost", errors.InvalidParameterValue, FailureKind.STATEMENT),
        ("SELECT pg_read_file('x')", errors.UndefinedFile, FailureKind.RESOURCES),
    ):
        conn = await psycopg.AsyncConnection.connect(at(cluster[0]))
        with pytest.raises(expected) as caught:
            await conn.execute(statement.encode())
        await conn.close()
        assert classify(caught.value) is kind


async def test_a_server_that_shuts_down_while_a_session_lasts_is_starting_not_down(
    cluster: Cluster,
) -> None:
    session = await psycopg.AsyncConnection.connect(at(cluster[0]))
    cluster[0].member.server.signal(signal.SIGTERM)  # a smart shutdown

    error = await first_failure_with("shutting down", at(cluster[0]))

    assert classify(error) is FailureKind.STARTING
    await session.close()
    await cluster[0].stop("fast")
    await cluster[0].start()


async def test_a_standby_that_accepts_no_connections_is_starting_not_down(
    cluster: Cluster,
) -> None:
    standby = cluster[1]
    await standby.sql("ALTER SYSTEM SET hot_standby = off")
    await standby.stop("fast")
    await standby.start(wait=False)

    error = await first_failure_with("not accepting connections", at(standby))

    assert classify(error) is FailureKind.STARTING
    await standby.stop("immediate")


async def first_failure_with(words: str, conninfo: str) -> psycopg.Error:
    """Return the first failure with these words; all before it must be STARTING or REFUSED."""
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
        pytest.param("host=127.0.0.1 port={port}", FailureKind.REFUSED, id="no listener"),
        pytest.param("host=/nonexistent", FailureKind.REFUSED, id="no socket"),
        pytest.param("host=db.invalid", FailureKind.NAME, id="an unknown name"),
    ],
)
async def test_a_host_without_a_server_fails_the_same_with_and_without_asyncio(
    conninfo: str, kind: FailureKind
) -> None:
    conninfo = conninfo.format(port=unused_port())

    awaited = await failure(conninfo)
    with pytest.raises(psycopg.Error) as blocking:
        await asyncio.to_thread(lambda: psycopg.connect(conninfo))

    assert (classify(awaited), classify(blocking.value)) == (kind, kind), str(awaited)


@asynccontextmanager
async def listener(
    answer: bytes, *, reset: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Give every client the same answer and hang up; yield a conninfo that leads there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        if tls is not None:
            with suppress(ssl.SSLError, OSError):  # the client may reject the certificate
                await writer.start_tls(tls)
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"host=127.0.0.1 port={port} user=app password={PASSWORD}"


ANSWERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "SMTP": b"220 mail.example ESMTP\r\n",
    "Redis": b"-ERR unknown command\r\n",
    "MySQL": b"J\0\0\0\n8.0.36\0",
    "garbage": b"\0\xff\xfe\xfd garbage",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_is_not_postgresql_is_a_failure_of_the_protocol(name: str) -> None:
    async with listener(ANSWERS[name]) as conninfo:
        # SSH begins with the letter by which PostgreSQL agrees to TLS.
        for sslmode in ("prefer",) if name == "SSH" else ("disable", "prefer", "require"):
            error = await failure(f"{conninfo} sslmode={sslmode}")
            assert classify(error) is FailureKind.PROTOCOL, f"{sslmode}: {error}"


async def test_a_connection_that_is_cut_before_or_in_the_handshake_is_reset() -> None:
    for answer, reset, sslmode in (
        (b"", False, "disable"),
        (b"", False, "require"),
        (b"", True, "disable"),
        (b"", True, "require"),
        (b"S", False, "require"),
    ):
        async with listener(answer, reset=reset) as conninfo:
            error = await failure(f"{conninfo} sslmode={sslmode}")
        assert classify(error) is FailureKind.RESET, f"{answer!r} {reset} {sslmode}: {error}"


async def test_a_dial_that_takes_too_long_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await psycopg.AsyncConnection.connect(f"host=127.0.0.1 port={deaf.getsockname()[1]}")

    assert classify(caught.value) is FailureKind.TIMEOUT


# -- certificates -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate for another host."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
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
        # With the system's certificates libpq allows nothing weaker than verify-full.
        pytest.param("sslmode=verify-full sslrootcert=system", id="an unknown CA's"),
        pytest.param("sslmode=verify-ca sslrootcert=/nonexistent", id="no CA is trusted"),
    ],
)
async def test_a_certificate_that_libpq_rejects_is_a_failure_of_the_configuration(
    certificate: tuple[Path, ssl.SSLContext], parameters: str
) -> None:
    cert, context = certificate
    async with listener(b"S", tls=context) as conninfo:
        error = await failure(f"{conninfo} {parameters.format(cert=cert)}")

    assert classify(error) is FailureKind.CONFIGURATION, error


# -- without any server -------------------------------------------------------------------------


def test_each_sqlstate_means_its_kind() -> None:
    expected = {
        FailureKind.RESET: ("08000", "08006", "57P01", "57P02", "57P05"),
        FailureKind.STARTING: ("57P03",),
        FailureKind.SATURATED: ("53300",),
        FailureKind.RESOURCES: ("53100", "53200", "58030"),
        FailureKind.CREDENTIALS: ("28P01", "28000"),
        FailureKind.CONFIGURATION: ("3D000", "42501", "57P04", "55000"),
        FailureKind.UNWILLING: ("57014", "40001", "25006", "XX000"),
    }

    for kind, sqlstates in expected.items():
        assert {sqlstate: kind_of_sqlstate(sqlstate) for sqlstate in sqlstates} == dict.fromkeys(
            sqlstates, kind
        )


def test_an_exception_is_known_by_its_class_before_its_text() -> None:
    for error, kind in (
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
    ):
        assert classify(error) is kind, repr(error)


def test_texts_that_are_hard_to_provoke() -> None:
    expected = {
        FailureKind.PROTOCOL: (
            "received unencrypted data after SSL response",
            "SSL error: wrong version number",
            "received invalid authentication request",
            "received invalid protocol negotiation message",
            "server sent an error response during SSL exchange",
        ),
        FailureKind.CONFIGURATION: (
            "SSL error: tlsv1 alert unknown ca",
            "SSL error: tlsv13 alert certificate required",
            "SSL error: ssl/tls alert certificate expired",
            "SSL error: ssl/tls alert bad certificate",
            "SSL error: ssl/tls alert handshake failure",
            "SSL error: tlsv1 alert protocol version",
            "authentication method 11 not supported",
            "host name must be specified for a verified SSL connection",
        ),
        FailureKind.CREDENTIALS: ("FATAL:  connection requires a valid client certificate",),
        FailureKind.UNWILLING: ("FATAL:  something new", "致命的エラー:  何か", "ВАЖНО:  что-то"),
        FailureKind.OTHER: ("something new", "SSL error: something new"),
        FailureKind.RESET: ("SSL connection has been closed unexpectedly",),
        FailureKind.TIMEOUT: ("could not receive data from server: Connection timed out",),
        FailureKind.STARTING: ("FATAL:  the database system is in recovery mode",),
    }
    for kind, texts in expected.items():
        for text in texts:
            said = f'connection to server at "10.0.0.1", port 5432 failed: {text}'
            assert kind_of_text(said) is kind, text


@given(st.text() | st.text(alphabet='role "database does not exist'))
def test_any_text_and_any_sqlstate_is_of_some_kind(text: str) -> None:
    assert isinstance(kind_of_text(text), FailureKind)
    assert isinstance(kind_of_sqlstate(text), FailureKind)


def test_a_failure_reads_as_its_text_and_can_be_pickled() -> None:
    refused = Failure(FailureKind.REFUSED, "Connection refused")

    assert str(refused) == "Connection refused"
    assert pickle.loads(pickle.dumps(refused)) == refused
