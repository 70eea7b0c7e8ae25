"""Refusals in words that nobody has listed: each is an answer, and its SQLSTATE says what it means.

The servers of the tests' PostgreSQL speak English only, so these send what others have sent.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hostile import HostileServer
from pgmoor import NoHostAvailable
from pgmoor.events import HostDown, OutageStarted, Stalled
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile import Conversation
    from pgmoor.testing import Cluster

HONEST = [b"f", b"off", b"1", b"7", None, b"1795000000000000", b"1"]
# PostgreSQL's own translations: severity, text, SQLSTATE, and what it is taken for.
REFUSALS = {
    "German": (
        "FATAL",
        "Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen",
        "28P01",
        "credentials",
    ),
    "French": ("FATAL", "la base de données « orders » n'existe pas", "3D000", "configuration"),
    "Japanese": ("FATAL", 'ロール"app"は存在しません', "28000", "credentials"),
    "Russian": (
        "ВАЖНО",
        'пользователь "app" не прошёл проверку подлинности',
        "28P01",
        "credentials",
    ),
    "Swedish": ("FATALT", "tyvärr, för många klienter", "53300", "saturated"),
    "Spanish": ("FATAL", "el sistema de base de datos está iniciándose", "57P03", "starting"),
    "a code of its own": ("FATAL", "not today", "XX123", "unwilling"),
}


def refusing(severity: str, text: str, code: str) -> Callable[[Conversation], None]:
    def script(talk: Conversation) -> None:
        talk.startup()
        talk.error(text, code=code, severity=severity)

    return script


@pytest.mark.parametrize("language", REFUSALS)
async def test_a_refusal_in_any_language_is_what_its_sqlstate_says(
    moor: Callable[..., Any], language: str
) -> None:
    severity, text, code, kind = REFUSALS[language]
    with HostileServer(refusing(severity, text, code)) as server:
        manager = await moor(server, health_interval=0.1)
        await until(lambda: manager.snapshot().hosts[0].failure_kind is not None)
        host = manager.snapshot().hosts[0]
        with pytest.raises(NoHostAvailable) as caught:
            async with manager.connection(timeout=0.5):
                pass

    assert (host.failure_kind, host.failure) == (kind, text)
    assert text in str(caught.value)
    assert host.status != "silent"
    if kind in ("credentials", "configuration", "unwilling"):
        assert host.status == "rejected"
        assert server.clients <= 4  # and not one for each probe


async def test_a_statement_goes_on_while_its_server_refuses_new_sessions_in_unknown_words(
    moor: Callable[..., Any],
) -> None:
    refusing_now, served = threading.Event(), threading.Event()
    refused = 0

    def script(talk: Conversation) -> None:
        nonlocal refused
        talk.startup()
        if refusing_now.is_set():
            refused += 1
            talk.error("いやです", code="XX123", severity="致命的エラー")
            return
        talk.greet()
        while not refusing_now.is_set():
            _, body = talk.receive()
            if b"pg_sleep" in body:
                served.wait(20)
                talk.answer([[b"served"]])
            elif b"pg_is_in_recovery" in body and not refusing_now.is_set():
                talk.answer([HONEST])
            elif not refusing_now.is_set():
                talk.send(b"C" + b"\0\0\0\x0aBEGIN\0")
                talk.ready()

    with HostileServer(script) as server:
        manager = await moor(
            server,
            min_size=1,
            max_size=1,
            health_interval=0.05,
            health_timeout=0.2,
            stall_timeout=0.5,
            kwargs={"autocommit": True},
        )
        try:
            async with manager.connection() as conn:
                asked = asyncio.create_task(conn.execute(b"select pg_sleep(9)"))
                await asyncio.sleep(0)
                refusing_now.set()
                await until(lambda: refused > 0)
                await until(lambda: manager.snapshot().hosts[0].failure_kind == "unwilling")
                table = manager._runtime.live.evidence.table
                first = table[0].asked_at
                await until(lambda: bool(table[0].asked_at > first + 1))  # twice `stall_timeout`
                served.set()
                cursor = await asked
                assert await cursor.fetchone() == ("served",)
        finally:
            served.set()

    assert recorder(manager).of(Stalled) == []
    assert recorder(manager).of(OutageStarted) == []


@pytest.mark.parametrize(
    "demands",
    [
        {"require_auth": "scram-sha-256"},
        {"channel_binding": "require"},
        {"sslcertmode": "require"},
    ],
    ids=str,
)
async def test_a_server_that_does_not_meet_libpq_s_demands_is_rejected_and_not_silent(
    alone: Cluster, moor: Callable[..., Any], demands: dict[str, str]
) -> None:
    manager = await moor(alone[0], health_interval=0.1, kwargs=demands)

    down = await recorder(manager).wait_for(HostDown)

    assert down.status == "rejected", down
    assert manager.snapshot().hosts[0].failure_kind == "configuration"


async def test_a_question_that_a_living_session_can_t_answer_costs_no_further_session(
    moor: Callable[..., Any],
) -> None:
    failing, asked = threading.Event(), 0

    def script(talk: Conversation) -> None:
        nonlocal asked
        talk.startup()
        talk.greet()
        while True:
            talk.receive()
            if failing.is_set():
                asked += 1
                talk.error(
                    "Anfrage wird wegen Zeitüberschreitung storniert",
                    code="57014",
                    severity="FEHLER",
                )
                talk.ready()
            else:
                talk.answer([HONEST])

    with HostileServer(script) as server:
        manager = await moor(server, min_size=1, max_size=1, health_interval=0.05)
        await manager.wait()
        before = server.clients
        failing.set()

        await until(lambda: asked > 20)

        assert server.clients == before
        host = manager.snapshot().hosts[0]
        assert (host.status, host.failure_kind, host.current) == ("up", "statement", True)
    assert recorder(manager).of(Stalled) == []


async def test_a_host_that_refuses_new_sessions_in_unknown_words_is_left_for_another(
    moor: Callable[..., Any],
) -> None:
    refusing_now = threading.Event()

    def script(talk: Conversation) -> None:
        talk.startup()
        if refusing_now.is_set():
            talk.error("いやです", code="XX123", severity="致命的エラー")
        else:
            willing(talk)

    def willing(talk: Conversation) -> None:
        talk.greet()
        while True:
            talk.receive()
            talk.answer([HONEST])

    def other(talk: Conversation) -> None:
        talk.startup()
        willing(talk)

    with HostileServer(script) as first, HostileServer(other) as second:
        settings = {"min_size": 1, "max_size": 2, "kwargs": {"autocommit": True}}
        manager = await moor(first, second, target="any", health_interval=0.1, **settings)
        await manager.wait()
        held = await manager.getconn()
        assert held.info.port == first.port
        refusing_now.set()

        conn = await manager.getconn(timeout=10)

        assert conn.info.port == second.port
        assert not held.closed
        for lent in (conn, held):
            await manager.putconn(lent)
