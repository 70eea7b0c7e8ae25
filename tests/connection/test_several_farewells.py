"""A pooler passes on what its server says when it ends a session, and adds why it closes ours.

psycopg takes the two answers to a command of its own for an error of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors

from hostile import Conversation, HostileServer
from pgmoor import CommitOutcomeUnknown, ManagedConnection, RetrySafety, retry_safety
from pgmoor._core.connection.managed import managed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

SHUTDOWN = ("terminating connection due to administrator command", "57P01")
CORRUPTED = ("invalid page, says the administrator command", "XX001")
POOLERS_OWN = ("server conn crashed?", "08P01")


def pooler(doomed: bytes, farewells: Sequence[tuple[str, str]], talk: Conversation) -> None:
    """Answer commands, but end the session at one that begins with *doomed*."""
    talk.startup()
    talk.greet()
    while True:
        _, body = talk.receive()
        word = body.rstrip(b"\0").split()[0].upper()
        if word == doomed:
            for text, code in farewells:
                talk.error(text, code=code)
            return
        talk.message(b"C", word + b"\0")
        talk.message(b"Z", b"T" if word != b"COMMIT" else b"I")


async def by_hand(conn: ManagedConnection) -> None:
    await conn.execute("insert into work values (1)")
    await conn.commit()


async def by_block(conn: ManagedConnection) -> None:
    async with conn.transaction():
        await conn.execute("insert into work values (1)")


@pytest.mark.parametrize("work", [by_hand, by_block])
@pytest.mark.parametrize(
    ("doomed", "farewells", "expected", "safety"),
    [
        (b"BEGIN", (SHUTDOWN, POOLERS_OWN), errors.AdminShutdown, RetrySafety.ROLLED_BACK),
        (b"INSERT", (SHUTDOWN, POOLERS_OWN), errors.AdminShutdown, RetrySafety.ROLLED_BACK),
        (b"COMMIT", (SHUTDOWN, POOLERS_OWN), CommitOutcomeUnknown, RetrySafety.UNKNOWN),
        (b"COMMIT", (CORRUPTED, POOLERS_OWN), CommitOutcomeUnknown, RetrySafety.UNKNOWN),
        (b"COMMIT", (CORRUPTED,), CommitOutcomeUnknown, RetrySafety.UNKNOWN),
    ],
)
async def test_the_caller_gets_what_the_server_said_and_what_it_means_for_the_work(
    work: Callable[[ManagedConnection], Awaitable[None]],
    doomed: bytes,
    farewells: Sequence[tuple[str, str]],
    expected: type[psycopg.Error],
    safety: RetrySafety,
) -> None:
    with HostileServer(partial(pooler, doomed, farewells)) as server:
        conn = await managed(psycopg.AsyncConnection).connect(
            f"host={server.host} port={server.port} user=x sslmode=disable gssencmode=disable"
        )
        with pytest.raises(psycopg.OperationalError, match="administrator command") as caught:
            await work(conn)
        await conn.close()

    assert type(caught.value) is expected
    assert retry_safety(caught.value) is safety
    assert conn.closed
