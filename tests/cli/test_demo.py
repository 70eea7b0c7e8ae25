from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Start = Callable[..., subprocess.Popen[str]]


def test_it_survives_its_faults_and_says_so_in_a_table(pgmoor: Start, tmp_path: Path) -> None:
    results, picture = tmp_path / "results.json", tmp_path / "demo.svg"
    demo = pgmoor(
        "demo",
        "--plain",
        "--quick",
        "--json",
        str(results),
        "--svg",
        str(picture),
        "--writers",
        "8",
    )

    out, err = demo.communicate(timeout=45)

    assert (demo.returncode, err) == (0, "")
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith(" fault "))
    assert lines[head - 1].split() == ["after", "after", "ops", "rows", "written"]
    assert lines[head].split() == ["fault", "fault", "writable", "failed", "lost", "twice"]
    for row, fault in zip(lines[head + 2 : head + 4], ("crash", "freeze"), strict=True):
        assert row.strip().startswith(fault)
        assert row.split()[-2:] == ["0", "0"]
    assert "failover n0 > " in out
    assert "split brain" in out
    found = json.loads(results.read_text())
    assert found["good"] is True
    assert (found["lost"], found["twice"]) == (0, 0)
    assert all(0 < fault["back"] < 10 for fault in found["faults"])
    ET.parse(picture)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
@pytest.mark.parametrize("moment", ["starting", "crash", "SIGSTOP"])
def test_it_leaves_nothing_behind_when_it_is_interrupted(
    pgmoor: Start, number: signal.Signals, status: int, moment: str
) -> None:
    demo = pgmoor("demo", "--plain", "--quick")
    assert demo.stdout is not None
    while moment not in demo.stdout.readline():
        assert demo.poll() is None
    servers = children(demo.pid)
    began = time.monotonic()

    demo.send_signal(number)
    out, err = demo.communicate(timeout=20)

    assert demo.returncode == status
    assert time.monotonic() - began < 5
    assert "Traceback" not in out + err
    assert not [pid for pid in servers if Path(f"/proc/{pid}").exists()]


def test_a_reader_that_goes_away_ends_it(pgmoor: Start) -> None:
    demo = pgmoor("demo", "--plain", "--quick")
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    assert demo.stderr is not None

    err = demo.stderr.read()

    assert demo.wait(20) == 1
    assert "Traceback" not in err


def children(parent: int) -> list[int]:
    """Return the pids of a process's own children."""
    tasks = Path(f"/proc/{parent}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
