"""What `pgmoor check` prints of a password, and of what a hostile server says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from canary import CANARY, traces
from hostile import Conversation, HostileServer
from pgmoor.redact import MASK

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

RUN = "from pgmoor.__main__ import main; main()"


def check(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command, with asyncio's debug mode on; return its status and all that it printed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", RUN, "check", *arguments, "--timeout", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**others, "COLUMNS": "400", "NO_COLOR": "1", "PYTHONUTF8": "1", **variables},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


async def test_a_password_that_is_right(guarded: Cluster) -> None:
    place = f"{guarded[0].host}:{guarded[0].port}"
    status, text = check(f"postgresql://keeper:{quote(CANARY, '')}@{place}/postgres")

    assert (status, "ready: " in text) == (0, True)
    assert traces(text) == []


async def test_a_password_that_is_wrong(guarded: Cluster) -> None:
    conninfo = guarded.conninfo(user="stranger")

    status, text = check(conninfo, PGPASSWORD=CANARY)

    assert status == 1
    assert "password authentication failed" in text
    assert traces(text) == []


def test_a_conninfo_that_can_t_be_read() -> None:
    status, text = check(f"postgresql://app:{CANARY}@db1/orders")

    assert status == 2
    assert text.startswith("pgmoor: conninfo: ")
    assert traces(text) == []


@pytest.mark.parametrize("markup", ["[/nothing]", "[link=http://x]here[/link]", "[red"])
def test_a_server_that_sends_it_back_among_what_steers_a_terminal(markup: str) -> None:
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
