from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]


def test_the_demo_survives_its_faults_and_reports_them(pgmoor: Start, tmp_path: Path) -> None:
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
    assert "failed over from n0 to " in out
    assert "split brain" in out
    found = json.loads(results.read_text())
    assert found["good"] is True
    assert (found["lost"], found["twice"]) == (0, 0)
    assert all(0 < fault["back"] < 10 for fault in found["faults"])
    ET.parse(picture)


@pytest.mark.thorough
def test_with_run_no_operation_of_the_demo_fails(pgmoor: Start, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    demo = pgmoor("demo", "--plain", "--quick", "--run", "--json", str(results), "--writers", "8")

    _, err = demo.communicate(timeout=45)

    assert (demo.returncode, err) == (0, "")
    found = json.loads(results.read_text())
    assert (found["lost"], found["twice"]) == (0, 0)
    assert [fault["failed"] for fault in found["faults"]] == [0, 0]


def test_the_demo_ends_when_its_output_is_closed(pgmoor: Start) -> None:
    demo = pgmoor("demo", "--plain", "--quick")
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    assert demo.stderr is not None

    err = demo.stderr.read()

    assert demo.wait(20) == 1
    assert "Traceback" not in err
