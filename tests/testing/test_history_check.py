"""The checker of histories: it finds each kind of anomaly that is planted, and nothing else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.testing import History
from pgmoor.testing.check import check, load, main

if TYPE_CHECKING:
    from pathlib import Path


class Story:
    """A history of one list, one transaction after the other unless it is left open."""

    def __init__(self, path: Path) -> None:
        self.path = path / "history.json"
        self._history = History(self.path)

    def append(self, process: int, element: int, outcome: str = "ok") -> Story:
        value = [("append", 1, element)]
        self._history.invoke(process, value)
        getattr(self._history, outcome)(process, value)
        return self

    def begin(self, process: int, element: int) -> Story:
        self._history.invoke(process, [("append", 1, element)])
        return self

    def end(self, process: int, element: int) -> Story:
        self._history.ok(process, [("append", 1, element)])
        return self

    def read(self, process: int, *elements: int) -> Story:
        self._history.invoke(process, [("r", 1, None)])
        self._history.ok(process, [("r", 1, list(elements))])
        return self

    def kinds(self) -> list[str]:
        self._history.__exit__()
        with self.path.open(encoding="utf-8") as lines:
            return sorted(anomaly.kind for anomaly in check(load(lines)).anomalies)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_a_good_history_has_no_anomaly(story: Story) -> None:
    story.append(0, 1).append(1, 2).read(0, 1, 2).append(0, 3, "fail").append(2, 4, "info")
    story.read(1, 1, 2).append(1, 5).read(0, 1, 2, 5).begin(3, 6).read(0, 1, 2, 5, 6)
    assert story.kinds() == []


def test_what_nobody_can_tell_of_may_be_there_or_not(story: Story) -> None:
    story.append(0, 1, "info").append(1, 2, "info").append(2, 3).read(3, 2, 3)
    assert story.kinds() == []


def test_appends_at_the_same_time_may_come_in_any_order(story: Story) -> None:
    story.begin(0, 1).begin(1, 2).end(0, 1).end(1, 2).read(2, 2, 1)
    assert story.kinds() == []


def test_a_lost_append_is_found(story: Story) -> None:
    assert story.append(0, 1).append(1, 2).read(2, 2).kinds() == ["lost"]


def test_a_doubled_append_is_found(story: Story) -> None:
    assert story.append(0, 1).append(1, 2).read(2, 1, 2, 1).kinds() == ["doubled"]


def test_an_order_that_differs_between_reads_is_found(story: Story) -> None:
    story.begin(0, 1).begin(1, 2).end(0, 1).end(1, 2).read(2, 2, 1).read(3, 1, 2)
    assert story.kinds() == ["reordered"]


def test_an_order_that_time_contradicts_is_found(story: Story) -> None:
    assert story.append(0, 1).append(1, 2).read(2, 2, 1).kinds() == ["reordered"]


def test_a_failed_append_that_is_there_is_found(story: Story) -> None:
    assert story.append(0, 1, "fail").read(1, 1).kinds() == ["undone"]


def test_an_element_that_nobody_appended_is_found(story: Story) -> None:
    assert story.append(0, 1).read(1, 1, 9).kinds() == ["invented"]


def test_a_process_that_does_not_see_its_own_append_is_found(story: Story) -> None:
    assert story.append(0, 1).read(0).read(0, 1).kinds() == ["own write"]


def test_a_read_that_misses_what_was_acknowledged_is_found(story: Story) -> None:
    assert story.append(0, 1).read(1).read(1, 1).kinds() == ["stale"]


def test_a_process_that_sees_less_than_before_is_found(story: Story) -> None:
    story.append(0, 1, "info").read(1, 1).read(1).read(1, 1)
    assert story.kinds() == ["backwards"]


def write(path: Path, lists: dict[int, list[int]], rng: random.Random) -> None:
    """Write a good history of transactions that append and read, and then read all at the end."""
    with History(path) as history:
        for element in range(300):
            key, process = rng.randrange(3), rng.randrange(4)
            history.invoke(process, [("append", key, element), ("r", key, None)])
            if rng.random() < 0.1:
                history.fail(process, [("append", key, element), ("r", key, None)])
                continue
            lists[key].append(element)
            history.ok(process, [("append", key, element), ("r", key, list(lists[key]))])
        for key, elements in lists.items():
            history.invoke(9, [("r", key, None)])
            history.ok(9, [("r", key, elements)])


@pytest.mark.parametrize("seed", range(5))
def test_an_anomaly_at_the_end_of_a_long_history_is_found(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    path = tmp_path / "history.json"
    lists: dict[int, list[int]] = {0: [], 1: [], 2: []}
    write(path, lists, rng)
    text = path.read_text(encoding="utf-8")
    with path.open(encoding="utf-8") as lines:
        assert check(load(lines)).good
    victim = lists[0][-2]
    *rest, last = [line for line in text.splitlines() if f"{victim}," in line and '"ok"' in line]
    for kind, changed in (
        ("lost", last.replace(f" {victim},", "")),
        ("doubled", last.replace(f" {victim},", f" {victim}, {victim},")),
    ):
        planted = text.replace(last, changed)
        assert kind in {a.kind for a in check(load(planted.splitlines())).anomalies}
    assert rest


def test_a_history_has_the_form_that_elle_cli_reads(tmp_path: Path) -> None:
    """One array of maps with the keys of Jepsen's operations; reads are null until they are known.

    Its reader makes keywords of the types, of `f`, and of the first item of each micro-operation.
    """
    path = tmp_path / "history.json"
    asked: list[Any] = [("append", 253, 1), ("r", 255, None)]
    with History(path) as history:
        history.invoke(0, asked)
        history.ok(0, [("append", 253, 1), ("r", 255, [2, 3])])
        for number, outcome in ((1, "fail"), (2, "info")):
            history.invoke(number, asked)
            getattr(history, outcome)(number, asked)
    events = json.loads(path.read_text(encoding="utf-8"))
    times = [event.pop("time") for event in events]
    assert times == sorted(times)
    assert all(isinstance(time, int) for time in times)
    value = [["append", 253, 1], ["r", 255, None]]
    assert events == [
        {"index": 0, "process": 0, "type": "invoke", "f": "txn", "value": value},
        {
            "index": 1,
            "process": 0,
            "type": "ok",
            "f": "txn",
            "value": [["append", 253, 1], ["r", 255, [2, 3]]],
        },
        {"index": 2, "process": 1, "type": "invoke", "f": "txn", "value": value},
        {"index": 3, "process": 1, "type": "fail", "f": "txn", "value": value},
        {"index": 4, "process": 2, "type": "invoke", "f": "txn", "value": value},
        {"index": 5, "process": 2, "type": "info", "f": "txn", "value": value},
    ]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(load(lines)) == len(load([json.dumps(event) for event in events])) == 3
    assert len(load(lines[:-1])) == 3  # of a program that was killed

    with History(path):
        pass
    assert json.loads(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "lines",
    [["no JSON"], ['{"type": "ok"}'], ['{"type": "ok", "process": 1, "value": []}'], ["7"]],
)
def test_what_is_no_history_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="line 1"):
        load(lines)


def test_the_command_prints_the_verdict_and_its_exit_status_tells_it(
    tmp_path: Path, capsys: Any
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    with History(good) as history:
        history.invoke(0, [("append", 1, 1), ("r", 1, None)])
        history.ok(0, [("append", 1, 1), ("r", 1, [1])])
    bad.write_text(good.read_text(encoding="utf-8").replace("[1]", "[1, 1]"), encoding="utf-8")
    assert main([str(good)]) == 0
    assert "1 committed" in capsys.readouterr().out
    assert main([str(bad)]) == 1
    assert "doubled: key 1: 1 is there 2 times" in capsys.readouterr().out
    assert main([str(tmp_path / "missing")]) == 2
    command = [sys.executable, "-m", "pgmoor.testing.check", str(good)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
