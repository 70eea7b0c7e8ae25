"""Servers that send too much, too little or nonsense: the manager goes on with an honest one."""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

import hostile
from hostile import Conversation, HostileServer
from pgmoor import ConnectionManager, NoHostAvailable, PoolExhausted
from pgmoor._core.connection.abortable import AbortableConnection
from pgmoor._core.dialling.connector import Connector
from pgmoor._core.failover.prober import Prober
from pgmoor._core.util.redaction import LONGEST
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster

MB = 2**20
LONG = "x" * 1000
HONEST: list[bytes | None] = [b"f", b"off", b"1", b"7", None, b"1795000000000000", b"1"]
NOT_UP = ("down", "silent", "rejected")


# -- endless ------------------------------------------------------------------------------------


def endless(*messages: bytes, first: bytes = b"") -> Callable[[Conversation], None]:
    """Answer the first query with endless messages."""
    block = b"".join(messages) * max(1, 100_000 // len(b"".join(messages)))

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.greet()
        talk.receive()
        talk.send(first)
        while True:
            talk.send(block)

    return script


def endless_greeting(block: bytes) -> Callable[[Conversation], None]:
    """Send endlessly before the client is accepted."""

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.message(b"R", struct.pack("!i", 0))
        while True:
            talk.send(block)

    return script


def ask_again(talk: Conversation) -> None:
    talk.startup()
    while True:
        talk.password()


NOTICE = hostile.report(b"N", LONG, code="00000", severity="NOTICE")
ERROR = hostile.report(b"E", LONG, code="XX000", severity="ERROR")
RESULT = hostile.description(1) + hostile.data_row([b"x"]) + hostile.message(b"C", b"SELECT 1\0")
ONE_ROW = b"D" + struct.pack("!ih", 900 * MB, 7) + struct.pack("!i", 890 * MB)
COPY = struct.pack("!bh", 0, 0)
PARAMETERS = b"".join(hostile.parameter(f"p{number}", LONG) for number in range(200))

ENDLESS = {
    "rows": endless(hostile.data_row([LONG.encode()] * 7), first=hostile.description(7)),
    "one row": endless(LONG.encode(), first=hostile.description(7) + ONE_ROW),
    "notices": endless(NOTICE),
    "parameters": endless(PARAMETERS),
    "errors": endless(ERROR),
    "results": endless(RESULT),
    "empty results": endless(hostile.message(b"I", b"")),
    "notifications": endless(hostile.message(b"A", struct.pack("!i", 1) + b"c\0x\0")),
    "copy out": endless(hostile.message(b"d", LONG.encode()), first=hostile.message(b"H", COPY)),
    "parameters at first": endless_greeting(PARAMETERS),
    "notices at first": endless_greeting(NOTICE * 100),
    "errors at first": endless_greeting(ERROR * 100),
    "garbage at first": endless_greeting(b"\xff" * 100_000),
    "passwords": ask_again,
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_endless_answer_costs_little_memory_and_time(alone: Cluster, name: str) -> None:
    with HostileServer(ENDLESS[name]) as server:
        async with measured() as figures, beside(server, alone) as manager:
            async with manager.connection(timeout=10) as conn:
                assert conn.info.port == alone[0].port
            await until(lambda: manager.snapshot().hosts[0].status in NOT_UP)
            worked = await _select(manager)

            failure = manager.snapshot().hosts[0].failure or ""
            assert (worked, manager.snapshot().live) == (1, True)
            assert 0 < len(failure) <= LONGEST
    assert figures["memory"] < 64 * MB
    assert figures["pause"] < 1.0


async def _select(manager: ConnectionManager) -> int:
    async with manager.connection(timeout=10) as conn:
        cursor = await conn.execute("select 1")
        (value,) = await cursor.fetchone() or (0,)
        return int(value)


@asynccontextmanager
async def beside(*servers: Any) -> AsyncIterator[ConnectionManager]:
    """Open a manager over hostile servers and, at the end of the list, an honest one."""
    *bad, good = servers
    hosts = [f"{server.host}:{server.port}" for server in (*bad, good[0])]
    async with ConnectionManager(
        "user=postgres dbname=postgres password=x",
        hosts=hosts,
        min_size=1,
        health_timeout=0.5,
        health_interval=0.1,
    ) as manager:
        yield manager


@asynccontextmanager
async def measured() -> AsyncIterator[dict[str, float]]:
    """Measure how many bytes the process grows by at most, and the loop's longest pause."""
    figures = {"memory": 0.0, "pause": 0.0}
    over = asyncio.Event()

    async def beat() -> None:
        before = monotonic()
        while not over.is_set():
            await asyncio.sleep(0.005)
            now = monotonic()
            figures["pause"] = max(figures["pause"], now - before)
            before = now

    before = _memory("VmRSS", reset_peak=True)
    beating = asyncio.create_task(beat())
    try:
        yield figures
    finally:
        over.set()
        await beating
        figures["memory"] = _memory("VmHWM") - before


def _memory(name: str, *, reset_peak: bool = False) -> int:
    """Return a figure of proc(5) for this process, in bytes."""
    if reset_peak:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


# -- nonsense -----------------------------------------------------------------------------------


def changed(**cells: bytes | None) -> list[list[bytes | None]]:
    """Return an honest answer with some of its cells replaced."""
    names = ("recovery", "read_only", "timeline", "system_id", "lag", "started", "pid")
    return [[cells.get(name, cell) for name, cell in zip(names, HONEST, strict=True)]]


SHAPES: dict[str, list[list[bytes | None]]] = {
    "no rows": [],
    "1000 rows": [HONEST] * 1000,
    "one column": [[b"f"]],
    "too many columns": [[*HONEST, b"x"]],
    "nothing but NULL": [[None] * 7],
    "an unknown role": changed(recovery=b"maybe"),
    "no role": changed(recovery=None),
    "an unknown read-only mode": changed(read_only=b"perhaps"),
    "words for a timeline": changed(timeline=b"abc"),
    "a timeline out of range": changed(timeline=b"2147483648"),
    "a timeline of 100,000 digits": changed(timeline=b"9" * 100_000),
    "a timeline in other digits": changed(timeline="٣".encode()),
    "words for a cluster": changed(system_id=b"abc"),
    "a cluster out of range": changed(system_id=b"9" * 30),
    "a lag that is no number": changed(lag=b"NaN"),
    "an infinite lag": changed(lag=b"inf"),
    "a lag out of range": changed(lag=b"1e999"),
    "a start that is not text": changed(started=b"\xff\xfe"),
    "words for a start": changed(started=b"now"),
    "a start of 100,000 digits": changed(started=b"9" * 100_000),
    "words for a process": changed(pid=b"abc"),
}


def answering(rows: list[list[bytes | None]]) -> Callable[[Conversation], None]:
    """Answer each query with these rows."""

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.greet()
        while True:
            talk.receive()
            talk.answer(rows, columns=len(rows[0]) if rows else 7)

    return script


def saying(*messages: bytes) -> Callable[[Conversation], None]:
    """Answer each query with these messages."""

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.greet()
        while True:
            talk.receive()
            talk.send(b"".join(messages))
            talk.ready()

    return script


def plainly(talk: Conversation) -> None:
    """Lack the functions, and answer the plain query with an unknown word."""
    talk.startup()
    talk.greet()
    talk.receive()
    talk.error("function does not exist", code="42883", severity="ERROR")
    talk.ready()
    while True:
        talk.receive()
        talk.answer([[b"perhaps"]])


HONEST_ROW = (
    hostile.description(7) + hostile.data_row(HONEST) + hostile.message(b"C", b"SELECT 1\0")
)
NONSENSE = {
    **{name: answering(rows) for name, rows in SHAPES.items()},
    "two answers": saying(HONEST_ROW, HONEST_ROW),
    "no answer": saying(),
    "an empty answer": saying(hostile.message(b"I", b"")),
    "a command's answer": saying(hostile.message(b"C", b"UPDATE 1\0")),
    "copy in": saying(hostile.message(b"G", COPY)),
    "copy out": saying(hostile.message(b"H", COPY)),
    "copy both": saying(hostile.message(b"W", COPY)),
    "a row without a description": saying(hostile.data_row(HONEST)),
    "a plain answer": plainly,
}


async def test_a_malformed_answer_does_not_count_as_up(alone: Cluster) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(HostileServer(script)) for script in NONSENSE.values()]
        async with beside(*servers, alone) as manager:
            await manager.wait(10)
            await until(
                lambda: all(host.status in NOT_UP for host in manager.snapshot().hosts[:-1])
            )
            health = manager.snapshot()

            assert await _select(manager) == 1
    failures = dict(zip(NONSENSE, (host.failure for host in health.hosts), strict=False))
    assert (health.live, health.hosts[-1].current) == (True, True)
    assert {name: failures[name] for name in SHAPES} == dict.fromkeys(
        SHAPES, "its answer to a health check makes no sense"
    )
    assert all(failures.values())


async def test_an_error_text_of_any_length_is_shown_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = "\x1b[2J" + "no\t" * MB + "\nand no"

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.greet()
        talk.receive()
        talk.error(text, code="57014", severity="ERROR")
        talk.ready()
        talk.receive()

    with HostileServer(script) as server:
        manager = ConnectionManager("", hosts=[f"127.0.0.1:{server.port}"], when_down="fail")
        async with manager:
            with pytest.raises(NoHostAvailable) as caught:
                await manager.getconn()

    assert "no?no?" in str(caught.value)
    assert len(str(caught.value)) < 2 * LONGEST
    assert max(len(record.getMessage()) for record in caplog.records) < 2 * LONGEST
    assert str(caught.value).isprintable()


async def test_whatever_a_server_sends_a_probe_returns_an_observation() -> None:
    generator = random.Random(20261121)
    parts = [
        HONEST_ROW,
        NOTICE,
        ERROR,
        RESULT,
        PARAMETERS[:1500],
        ONE_ROW,
        hostile.message(b"Z", b"I"),
    ]

    def script(talk: Conversation) -> None:
        noise = bytearray(b"".join(generator.choices(parts, k=3)))
        for _ in range(generator.randrange(20)):
            noise[generator.randrange(len(noise))] = generator.randrange(256)
        if generator.random() < 0.7:
            talk.startup()
            talk.message(b"R", struct.pack("!i", generator.choice([0, 0, 0, 3, 5, 10, 11, 12])))
            talk.send(bytes(noise[: generator.randrange(len(noise))]))
            talk.ready()
            talk.receive()
        talk.send(bytes(noise))

    with HostileServer(script) as server:
        manager = ConnectionManager(
            "password=x", hosts=[f"127.0.0.1:{server.port}"], health_timeout=0.05
        )
        settings = manager._settings
        host = settings.hosts[0]
        for _ in range(150):
            prober = Prober(settings, host, Connector(settings, host, None), AbortableConnection)
            began = monotonic()
            seen = await prober.probe()
            prober.close()
            assert monotonic() - began < 2.0
            assert seen.info or seen.failure
            assert seen.failure is None or len(seen.failure.text) <= LONGEST


# -- lies ---------------------------------------------------------------------------------------


async def test_a_server_that_answers_the_first_query_and_floods_the_second_costs_little() -> None:
    def script(talk: Conversation) -> None:
        talk.startup()
        talk.greet()
        talk.receive()
        talk.answer([HONEST])
        talk.receive()
        while True:
            talk.send(NOTICE * 100)

    with HostileServer(script) as server:
        hosts = [f"127.0.0.1:{server.port}"]
        manager = ConnectionManager("", hosts=hosts, min_size=2, validate_after=0)
        async with measured() as figures, manager:
            await manager.wait()
            began = monotonic()
            with pytest.raises((PoolExhausted, NoHostAvailable)):
                await manager.getconn(timeout=0.5)
            took = monotonic() - began
            assert manager.snapshot().live

    assert 0.4 < took < 1.5
    assert figures["memory"] < 64 * MB


async def test_a_server_that_claims_another_cluster_and_a_newer_timeline_is_not_used(
    alone: Cluster,
) -> None:
    claims = changed(timeline=b"2147483647", system_id=b"18446744073709551615")
    with HostileServer(answering(claims)) as liar:
        hosts = [f"{alone[0].host}:{alone[0].port}", f"127.0.0.1:{liar.port}"]
        manager = ConnectionManager("user=postgres dbname=postgres", hosts=hosts, min_size=1)
        async with manager:
            await manager.wait()
            await until(lambda: manager.snapshot().hosts[1].status == "up")
            assert await _select(manager) == 1
            assert manager.snapshot().hosts[0].current
