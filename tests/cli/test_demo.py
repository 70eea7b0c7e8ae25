from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

ABSENT = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {name!r} else find_spec(name, *rest)
"""


def quick_demo(pgmoor: Start, tmp_path: Path, *options: str) -> tuple[str, dict[str, Any]]:
    results = tmp_path / "results.json"
    arguments = ("--plain", "--quick", "--writers", "8", "--json", str(results))
    demo = pgmoor("demo", *arguments, *options)
    out, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (0, "")
    return out, json.loads(results.read_text())


def rows(out: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the words of the two lines of the table's head, and of its rows."""
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith(" fault "))
    return [line.split() for line in lines[head - 1 : head + 1]], [
        line.split() for line in lines[head + 2 : head + 4]
    ]


@pytest.mark.thorough
def test_beside_another_library_the_same_faults_give_two_columns_and_two_curves(
    pgmoor: Start, tmp_path: Path
) -> None:
    picture = tmp_path / "demo.svg"

    out, found = quick_demo(pgmoor, tmp_path, "--beside", "psycopg_pool", "--svg", str(picture))

    head, (crash, freeze) = rows(out)
    assert head[0] == ["pgmoor", "pgmoor", "psycopg_pool", "psycopg_pool"]
    assert head[1] == ["fault", "back", "after", "failed", "back", "after", "failed"]
    assert (crash[0], freeze[0]) == ("crash:", "freeze:")
    assert " ".join(freeze).count("not in 1.5 s") == 1  # psycopg_pool waits for the frozen server
    assert "psycopg_pool: not back after 1.5 s; restarted" in out
    assert "split brain" in out
    assert found["good"] is True
    assert (found["lost"], found["twice"]) == (0, 0)
    assert all(0 < fault["back"] < 10 for fault in found["faults"])
    beside = found["beside"]
    assert beside["library"] == "psycopg_pool"
    assert [fault["fault"] for fault in beside["faults"]] == [
        fault["fault"] for fault in found["faults"]
    ]
    assert beside["faults"][1]["back"] is None
    assert beside["acknowledged"] > 100
    ET.parse(picture)
    drawn = picture.read_text()
    assert "pgmoor" in drawn
    assert "psycopg_pool" in drawn


@pytest.mark.parametrize(
    ("library", "missing", "problem"),
    [
        ("asyncpg", "asyncpg", 'asyncpg is missing; install it with: pip install "asyncpg"'),
        (
            "sqlalchemy",
            "sqlalchemy",
            'sqlalchemy is missing; install it with: pip install "sqlalchemy[asyncio]"',
        ),
        ("oracle", "none", "unknown library; pass one of psycopg_pool, "),
    ],
)
def test_a_library_that_cannot_be_compared_is_refused_with_the_remedy(
    pgmoor: Start, library: str, missing: str, problem: str
) -> None:
    demo = pgmoor("demo", "--beside", library, code=ABSENT.format(name=missing))

    out, err = demo.communicate(timeout=20)

    assert (demo.returncode, out) == (2, "")
    assert err.startswith(f"pgmoor: --beside: {problem}")


@pytest.mark.thorough
def test_with_run_no_operation_of_the_demo_fails(pgmoor: Start, tmp_path: Path) -> None:
    out, found = quick_demo(pgmoor, tmp_path, "--run")

    head, both = rows(out)
    assert head[0] == ["after", "after", "ops", "rows", "written"]
    assert head[1] == ["fault", "fault", "writable", "failed", "lost", "twice"]
    for row, fault in zip(both, ("crash:", "freeze:"), strict=True):
        assert row[0] == fault
        assert row[-3:] == ["0", "0", "0"]
    assert "failed over from n0 to " in out
    assert (found["good"], found["lost"], found["twice"]) == (True, 0, 0)
    assert [fault["failed"] for fault in found["faults"]] == [0, 0]
    assert found["beside"] is None


def test_the_demo_ends_when_its_output_is_closed(pgmoor: Start) -> None:
    demo = pgmoor("demo", "--plain", "--quick")
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    assert demo.stderr is not None

    err = demo.stderr.read()

    assert demo.wait(20) == 1
    assert "Traceback" not in err
