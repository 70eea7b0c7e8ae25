"""`pgmoor check` prints neither a password nor what would steer the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from canary import CANARY, traces
from hostile import Conversation, HostileServer
from pgmoor._core.util.redaction import MASK

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

RUN = "from pgmoor.__main__ import main; main()"


def check(conninfo: str, *, timeout: int = 2, **variables: str) -> tuple[int, str]:
    """Run the command in asyncio's debug mode; return its exit status and all that it printed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", RUN, "check", conninfo, "--timeout", str(timeout)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**others, "COLUMNS": "400", "NO_COLOR": "1", "PYTHONUTF8": "1", **variables},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


async def test_a_right_password_is_not_printed(guarded: Cluster) -> None:
    place = f"{guarded[0].host}:{guarded[0].port}"
    conninfo = f"postgresql://keeper:{quote(CANARY, '')}@{place}/postgres"

    status, text = check(conninfo, timeout=30)

    assert (status, "ready: " in text) == (0, True)
    assert traces(text) == []


async def test_a_wrong_password_is_not_printed(guarded: Cluster) -> None:
    conninfo = guarded.conninfo(user="stranger")

    status, text = check(conninfo, PGPASSWORD=CANARY)

    assert status == 1
    assert "password authentication failed" in text
    assert traces(text) == []


def test_a_conninfo_that_can_t_be_read_is_not_printed() -> None:
    status, text = check(f"postgresql://app:{CANARY}@db1/orders")

    assert status == 2
    assert text.startswith("pgmoor: conninfo: ")
    assert traces(text) == []


def test_a_server_may_send_the_password_back_with_markup_and_control_characters() -> None:
    markup = "[/nothing] [link=http://x]here[/link] [red"

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.error(f"{markup} \x1b[2J\x07 {talk.password()}", code="28P01")

    with HostileServer(script) as server:
        conninfo = f"host={server.host} port={server.port} user=app"
        status, text = check(conninfo, PGPASSWORD=CANARY)

    assert status == 1
    assert markup in text
    assert MASK in text
    assert not {"\x1b", "\x07"} & set(text)
    assert traces(text) == []
