"""Every fault of the proxy, as a client's socket and as psycopg see it."""

import contextlib
import errno
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
import pytest_asyncio

from pgmoor.testing import Cluster, FaultProxy

SOON = 0.3  # s: how long a socket is given to show that nothing comes


class Echo:
    """A server that sends everything back, and keeps what it received and how each client ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ends: list[str] = []
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.threads.append(threading.Thread(target=self.serve, args=(client,)))
                self.threads[-1].start()

    def serve(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(1 << 16):
                    client.sendall(data)
                self.ends.append("fin")
            except OSError:
                self.ends.append("rst")

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo.port) as running:
        yield running


@pytest.fixture
def dial(proxy: FaultProxy) -> Iterator[Callable[[], socket.socket]]:
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(
                socket.create_connection((proxy.host, proxy.port), timeout=SOON)
            )

        yield connect


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def answers(client: socket.socket) -> bool:
    client.sendall(b"ping")
    client.settimeout(5)
    try:
        return client.recv(10) == b"ping"
    finally:
        client.settimeout(SOON)


Dial = Callable[[], socket.socket]


def test_without_a_fault_bytes_and_ends_pass(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    client = dial()
    assert answers(client)
    assert (proxy.connections, proxy.accepted) == (1, 1)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(5)
    assert client.recv(1) == b""
    assert echo.ends == ["fin"]
    until(lambda: proxy.connections == 0)


def test_more_than_any_buffer_passes_whole(proxy: FaultProxy, dial: Dial) -> None:
    client = dial()
    client.settimeout(10)
    sent = bytes(range(256)) * (1 << 16)
    sender = threading.Thread(target=client.sendall, args=(sent,))
    sender.start()
    got = bytearray()
    while len(got) < len(sent):
        got += client.recv(1 << 16)
    sender.join()
    assert got == sent


def test_refuse_turns_new_clients_away_and_keeps_the_old(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        dial()
    assert answers(old)
    proxy.heal()
    assert answers(dial())
    assert answers(old)


def test_reset_ends_the_old_connections_and_lets_new_ones_in(
    proxy: FaultProxy, echo: Echo, dial: Dial
) -> None:
    old = dial()
    assert answers(old)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        old.recv(1)
    until(lambda: echo.ends == ["rst"])
    assert answers(dial())


def test_deaf_accepts_and_never_answers(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    proxy.deaf()
    new = dial()
    new.sendall(b"late")
    with pytest.raises(TimeoutError):
        new.recv(1)
    assert answers(old)
    proxy.heal()
    new.settimeout(5)
    assert new.recv(10) == b"late"


def test_silence_holds_bytes_and_ends_back_until_healed(
    proxy: FaultProxy, echo: Echo, dial: Dial
) -> None:
    talking, leaving = dial(), dial()
    assert answers(talking)
    assert answers(leaving)
    proxy.silent()
    new = dial()
    talking.sendall(b"held")
    leaving.close()
    for client in (talking, new):
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert echo.ends == []
    proxy.heal()
    talking.settimeout(5)
    assert talking.recv(10) == b"held"
    assert answers(new)
    until(lambda: echo.ends == ["fin"])


def test_silence_of_the_old_lets_new_ones_work(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    assert answers(old)
    proxy.silent(new=False)
    old.sendall(b"held")
    with pytest.raises(TimeoutError):
        old.recv(1)
    assert answers(dial())


def test_a_black_hole_swallows_the_syn(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    assert answers(old)
    proxy.blackhole()
    accepted = proxy.accepted
    for _ in range(3):
        with pytest.raises(TimeoutError):
            dial()
    old.sendall(b"held")
    with pytest.raises(TimeoutError):
        old.recv(1)
    proxy.heal()
    old.settimeout(5)
    assert old.recv(10) == b"held"
    assert answers(dial())
    assert proxy.accepted == accepted + 1


def test_delay_is_kept_in_order(proxy: FaultProxy, dial: Dial) -> None:
    client = dial()
    assert answers(client)
    client.settimeout(5)
    proxy.delay(0.1)
    began = time.monotonic()
    client.sendall(b"a")
    assert client.recv(1) == b"a"
    assert 0.2 <= time.monotonic() - began < 2
    client.sendall(b"b")
    proxy.delay(0)
    client.sendall(b"c")
    got = client.recv(1) + client.recv(1)
    assert got == b"bc"


def test_a_cut_lets_so_many_bytes_pass_and_resets(
    proxy: FaultProxy, echo: Echo, dial: Dial
) -> None:
    client = dial()
    assert answers(client)
    proxy.cut(after=3)
    client.sendall(b"message")
    client.settimeout(5)
    assert client.recv(10) == b"mes"
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    until(lambda: echo.ends == ["rst"])
    assert answers(dial())


def test_a_cut_can_await_new_connections(proxy: FaultProxy, dial: Dial) -> None:
    proxy.cut(after=2, new=True)
    client = dial()
    client.sendall(b"message")
    assert client.recv(10) == b"me"
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    proxy.heal()
    assert answers(dial())


def test_retarget_moves_new_connections(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    assert answers(old)
    with socket.create_server(("127.0.0.1", 0)) as other:
        proxy.retarget(*other.getsockname())
        dial()
        other.settimeout(5)
        other.accept()[0].close()
    assert answers(old)


def test_a_server_that_is_gone_resets_the_client(echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with FaultProxy("127.0.0.1", port) as proxy, socket.socket() as client:
        client.settimeout(5)
        # The reset may be there before connect() returns, or only after it.
        failed = client.connect_ex((proxy.host, proxy.port)) == errno.ECONNRESET
        if not failed:
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_close_ends_connections_and_frees_the_port(echo: Echo) -> None:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        client = socket.create_connection((proxy.host, proxy.port), timeout=5)
        assert answers(client)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    socket.create_server((proxy.host, proxy.port)).close()
    proxy.close()
    with pytest.raises(RuntimeError, match="not running"):
        proxy.heal()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster(0) as running:
        yield running


@pytest.fixture
def postgres(cluster: Cluster) -> Iterator[FaultProxy]:
    with FaultProxy(cluster[0].host, cluster[0].port) as running:
        yield running


@pytest.fixture
def connect(postgres: FaultProxy) -> Iterator[Callable[[], psycopg.Connection]]:
    with contextlib.ExitStack() as stack:

        def dial() -> psycopg.Connection:
            conn = psycopg.connect(
                host=postgres.host,
                port=postgres.port,
                user="postgres",
                dbname="postgres",
                sslmode="disable",
                connect_timeout=2,
                autocommit=True,
            )
            stack.callback(conn.close)
            return conn

        yield dial


Connect = Callable[[], psycopg.Connection]


def one(conn: psycopg.Connection) -> bool:
    return conn.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_is_refused(postgres: FaultProxy, connect: Connect) -> None:
    old = connect()
    postgres.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect()
    assert one(old)


def test_psycopg_is_reset(postgres: FaultProxy, connect: Connect) -> None:
    old = connect()
    postgres.reset()
    with pytest.raises(psycopg.OperationalError):
        one(old)
    assert one(connect())


@pytest.mark.parametrize("fault", [FaultProxy.deaf, FaultProxy.blackhole])
def test_psycopg_times_out_dialling(
    postgres: FaultProxy, connect: Connect, fault: Callable[[FaultProxy], None]
) -> None:
    fault(postgres)
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        connect()
    postgres.heal()
    assert one(connect())


def test_psycopg_waits_through_silence_and_goes_on(postgres: FaultProxy, connect: Connect) -> None:
    old = connect()
    postgres.silent(new=False)
    assert one(connect())
    answered: list[bool] = []
    asking = threading.Thread(target=lambda: answered.append(one(old)))
    asking.start()
    asking.join(SOON)
    assert not answered
    postgres.heal()
    asking.join(5)
    assert answered == [True]


def test_psycopg_sees_delay(postgres: FaultProxy, connect: Connect) -> None:
    conn = connect()
    postgres.delay(0.1)
    began = time.monotonic()
    assert one(conn)
    assert 0.2 <= time.monotonic() - began < 2


def test_psycopg_loses_the_connection_in_the_middle_of_a_result(
    postgres: FaultProxy, connect: Connect
) -> None:
    conn = connect()
    postgres.cut(after=100_000)
    with pytest.raises(psycopg.OperationalError):
        conn.execute("SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    assert conn.closed
