from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Start = Callable[..., subprocess.Popen[str]]

CONNINFO = "host=127.0.0.1 port={port} user=postgres"
URL = "json://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    ("command", "argument"), [("check", CONNINFO), ("alert-test", URL)], ids=["check", "alert-test"]
)
def test_ctrl_c_ends_a_command_that_was_started_with_sigint_ignored(
    pgmoor: Start, command: str, argument: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        process = pgmoor(
            command, argument.format(port=silent.getsockname()[1]), sigint_ignored=True
        )
        peer, _ = silent.accept()

        with peer:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (130, "", "interrupted\n")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("moment", "number", "sigint_ignored", "status"),
    [
        ("starting", signal.SIGINT, True, 130),
        ("crash", signal.SIGINT, False, 130),
        ("SIGSTOP", signal.SIGTERM, False, 143),
    ],
    ids=["SIGINT while servers start", "SIGINT in a crash", "SIGTERM while a server is frozen"],
)
def test_an_interrupted_demo_leaves_no_server_behind(
    pgmoor: Start, moment: str, number: signal.Signals, sigint_ignored: bool, status: int
) -> None:
    demo = pgmoor("demo", "--plain", "--quick", sigint_ignored=sigint_ignored)
    assert demo.stdout is not None
    while moment not in demo.stdout.readline():
        assert demo.poll() is None
    servers = children(demo.pid)

    demo.send_signal(number)
    out, err = demo.communicate(timeout=20)

    assert demo.returncode == status
    assert "Traceback" not in out + err
    assert not [pid for pid in servers if Path(f"/proc/{pid}").exists()]


def children(parent: int) -> list[int]:
    """Return the pids of a process's own children."""
    tasks = Path(f"/proc/{parent}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
