"""Every fault of `FaultProxy`, seen from a client's socket and from the server."""

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pgmoor.testing import FaultProxy

QUIET = 0.3  # seconds without an answer that count as none


class Echo:
    """A server that sends everything back, and records how each connection ended."""

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
                socket.create_connection((proxy.host, proxy.port), timeout=QUIET)
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
        client.settimeout(QUIET)


Dial = Callable[[], socket.socket]


def test_without_a_fault_bytes_and_fin_pass(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    client = dial()
    assert answers(client)
    assert (proxy.connections, proxy.accepted) == (1, 1)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(5)
    assert client.recv(1) == b""
    assert echo.ends == ["fin"]
    until(lambda: proxy.connections == 0)


def test_more_bytes_than_any_buffer_holds_pass_unchanged(proxy: FaultProxy, dial: Dial) -> None:
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


def test_refuse_refuses_new_connections_and_keeps_the_old(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    proxy.refuse()
    proxy.refuse()  # once more changes nothing
    with pytest.raises(ConnectionRefusedError):
        dial()
    assert answers(old)
    proxy.heal()
    assert answers(dial())
    assert answers(old)


def test_it_refuses_and_heals_while_a_child_process_holds_its_sockets(
    proxy: FaultProxy, dial: Dial
) -> None:
    """A child has copies of all descriptors between its fork and the start of its program."""
    for _ in range(2):
        copy = proxy._listener.dup()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial()
        proxy.heal()
        assert answers(dial())
        copy.close()


def test_reset_resets_the_old_connections_once(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    old = dial()
    assert answers(old)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        old.recv(1)
    until(lambda: echo.ends == ["rst"])
    assert answers(dial())


def test_deaf_accepts_new_connections_and_never_answers(proxy: FaultProxy, dial: Dial) -> None:
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


def test_silent_holds_bytes_and_fin_back_until_healed(
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


def test_silent_for_the_old_connections_lets_new_ones_work(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    assert answers(old)
    proxy.silent(new=False)
    old.sendall(b"held")
    with pytest.raises(TimeoutError):
        old.recv(1)
    assert answers(dial())


def test_blackhole_makes_the_kernel_ignore_the_syn(proxy: FaultProxy, dial: Dial) -> None:
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


def test_delay_keeps_the_order(proxy: FaultProxy, dial: Dial) -> None:
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


def test_cut_resets_after_so_many_bytes(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
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


def test_cut_can_apply_to_new_connections(proxy: FaultProxy, dial: Dial) -> None:
    proxy.cut(after=2, new=True)
    client = dial()
    client.sendall(b"message")
    assert client.recv(10) == b"me"
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    proxy.heal()
    assert answers(dial())


def test_retarget_sends_new_connections_to_another_server(proxy: FaultProxy, dial: Dial) -> None:
    old = dial()
    assert answers(old)
    with socket.create_server(("127.0.0.1", 0)) as other:
        proxy.retarget(*other.getsockname())
        dial()
        other.settimeout(5)
        other.accept()[0].close()
    assert answers(old)


def test_a_server_that_refuses_resets_the_client(echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with FaultProxy("127.0.0.1", port) as proxy, socket.socket() as client:
        client.settimeout(5)
        # The reset may be there before connect() returns, or only after it.
        failed = client.connect_ex((proxy.host, proxy.port)) == errno.ECONNRESET
        if not failed:
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_close_resets_connections_and_frees_the_port(echo: Echo) -> None:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        client = socket.create_connection((proxy.host, proxy.port), timeout=5)
        assert answers(client)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    socket.create_server((proxy.host, proxy.port)).close()
    proxy.close()
    with pytest.raises(RuntimeError, match="not running"):
        proxy.heal()
