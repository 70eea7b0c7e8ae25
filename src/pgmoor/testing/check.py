"""Checks a history of list-append transactions: `python -m pgmoor.testing.check HISTORY`.

A history has one event on each line: a JSON array as `History` writes it, or no array around the
events. Each element is appended to the list of a key once. The exit status is 0 if there is no
anomaly, 1 if there is one, and 2 if the file isn't such a history.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Anomaly", "Operation", "Verdict", "check", "load", "main"]

MOST_SHOWN = 20


@dataclass(frozen=True)
class Operation:
    """One transaction: when it began and ended, and its outcome."""

    process: int
    began: int
    """The place of its beginning in the history."""
    ended: int
    """The place of its end; beyond the last event if it has none."""
    outcome: str
    """`ok`, `fail`, or `info` if unknown."""
    appends: tuple[tuple[Any, Any], ...]
    """Each key with the element appended."""
    reads: tuple[tuple[Any, tuple[Any, ...]], ...]
    """Each key with the elements read; empty unless it committed."""


@dataclass(frozen=True)
class Anomaly:
    """Something that must not happen; `str()` is a sentence about it."""

    kind: str
    """`lost`, `doubled`, `reordered`, `undone`, `invented`, `own write`, `backwards` or `stale`."""
    key: Any
    """The key of the list."""
    text: str
    """What happened."""

    def __str__(self) -> str:
        return f"{self.kind}: key {self.key}: {self.text}"


@dataclass
class Verdict:
    """What a history shows."""

    committed: int = 0
    """Number of acknowledged transactions."""
    failed: int = 0
    """Number of transactions that certainly did nothing."""
    undecided: int = 0
    """Number of transactions with an unknown outcome."""
    unread: int = 0
    """Number of acknowledged appends that no later transaction has read."""
    anomalies: list[Anomaly] = field(default_factory=list)
    """What happened although it must not."""

    @property
    def good(self) -> bool:
        """Whether there is no anomaly."""
        return not self.anomalies

    def __str__(self) -> str:
        kinds = Counter(anomaly.kind for anomaly in self.anomalies)
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        lines = [
            f"{self.committed} committed, {self.failed} failed, {self.undecided} undecided",
            f"{self.unread} acknowledged appends were never read afterwards",
            f"anomalies: {found or 'none'}",
        ]
        return "\n".join([*lines, *map(str, self.anomalies[:MOST_SHOWN])])


def load(lines: Iterable[str]) -> list[Operation]:
    """Return the transactions of a history, in the order of their beginnings.

    Raises `ValueError` for lines that aren't a history.
    """
    under_way: dict[int, tuple[int, list[Any]]] = {}
    found: list[Operation] = []
    place = 0
    for place, line in enumerate(lines):
        text = line.strip().rstrip(",")
        if text in {"", "[", "]", "[]"}:
            continue
        try:
            event = json.loads(text)
            kind, process, value = event["type"], event["process"], event["value"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"line {place + 1} is not an event of a history") from None
        if kind == "invoke":
            if process in under_way:
                raise ValueError(f"line {place + 1}: process {process} is still in a transaction")
            under_way[process] = place, value
        elif kind in {"ok", "fail", "info"} and process in under_way:
            began, asked = under_way.pop(process)
            found.append(
                _operation(process, (began, place), kind, value if kind == "ok" else asked)
            )
        else:
            raise ValueError(f"line {place + 1}: an end without a beginning")
    for process, (began, asked) in under_way.items():
        found.append(_operation(process, (began, place + 1), "info", asked))
    return sorted(found, key=lambda operation: operation.began)


def _operation(process: int, span: tuple[int, int], outcome: str, value: list[Any]) -> Operation:
    appends = tuple((key, element) for what, key, element in value if what == "append")
    reads = tuple(
        (key, tuple(elements))
        for what, key, elements in value
        if what == "r" and outcome == "ok" and elements is not None
    )
    return Operation(process, *span, outcome, appends, reads)


def check(operations: Sequence[Operation]) -> Verdict:
    """Check that what was acknowledged is there, once, in order, and seen from then on."""
    outcomes = Counter(operation.outcome for operation in operations)
    verdict = Verdict(outcomes["ok"], outcomes["fail"], outcomes["info"])
    appended = {(k, e): operation for operation in operations for k, e in operation.appends}
    reads: dict[Any, list[tuple[Operation, tuple[Any, ...]]]] = defaultdict(list)
    for operation in operations:
        for key, elements in operation.reads:
            reads[key].append((operation, elements))
    for key, of_key in reads.items():
        writers = {element: op for (k, element), op in appended.items() if k == key}
        longest = max((elements for _, elements in of_key), key=len)
        verdict.anomalies += _wrong_elements(key, of_key, writers)
        verdict.anomalies += _wrong_order(key, of_key, longest, writers)
        verdict.anomalies += _missing(key, of_key, writers)
        verdict.anomalies += _backwards(key, of_key)
    for (key, _), writer in appended.items():
        later = (op for op, _ in reads[key] if op.began > writer.ended)
        verdict.unread += writer.outcome == "ok" and next(later, None) is None
    return verdict


Reads = list[tuple[Operation, tuple[Any, ...]]]
Writers = dict[Any, Operation]


def _wrong_elements(key: Any, reads: Reads, writers: Writers) -> list[Anomaly]:
    """Find elements that are there twice, that nobody appended, or whose append has failed."""
    kinds: dict[tuple[str, Any], str] = {}
    for _, elements in reads:
        for element, count in Counter(elements).items():
            if count > 1:
                kinds["doubled", element] = f"{element} is there {count} times"
            if element not in writers:
                kinds["invented", element] = f"nobody appended {element}"
            elif writers[element].outcome == "fail":
                kinds["undone", element] = f"{element} is there, and its append has failed"
    return [Anomaly(kind, key, text) for (kind, _), text in kinds.items()]


def _wrong_order(
    key: Any, reads: Reads, longest: tuple[Any, ...], writers: Writers
) -> list[Anomaly]:
    """Find reads that no common order explains, and an order that time contradicts."""
    found = [
        Anomaly("reordered", key, f"{list(elements)} does not begin {list(longest)}")
        for elements in {elements for _, elements in reads}
        if longest[: len(elements)] != elements and not _lacks_only(elements, longest)
    ]
    latest: tuple[int, Any] = (-1, None)  # the latest beginning so far, and whose
    for element in dict.fromkeys(longest):
        writer = writers.get(element)
        if writer is None:
            continue
        if writer.ended < latest[0]:
            text = f"{element} was acknowledged before {latest[1]} was begun, and comes after it"
            found.append(Anomaly("reordered", key, text))
        latest = max(latest, (writer.began, element), key=lambda item: item[0])
    return found


def _lacks_only(elements: tuple[Any, ...], longest: tuple[Any, ...]) -> bool:
    """Return whether elements are missing and the others in order: that is told as such."""
    rest = iter(longest)
    return all(element in rest for element in elements)


def _missing(key: Any, reads: Reads, writers: Writers) -> list[Anomaly]:
    """Find acknowledged appends that a later read lacks: its writer's own, or anybody's."""
    found = []
    contents = [(op, set(elements)) for op, elements in reads]
    for element, writer in writers.items():
        if writer.outcome != "ok":
            continue
        later = [(op, there) for op, there in contents if op.began > writer.ended]
        without = [op for op, there in later if element not in there]
        if not without:
            continue
        last = max(later, key=lambda item: item[0].began)
        if element not in last[1]:
            found.append(Anomaly("lost", key, f"{element} was acknowledged, and is not there"))
        elif any(op.process == writer.process for op in without):
            text = f"process {writer.process} has appended {element}, and does not see it"
            found.append(Anomaly("own write", key, text))
        else:
            text = f"{element} was acknowledged before a read began that lacks it"
            found.append(Anomaly("stale", key, text))
    return found


def _backwards(key: Any, reads: Reads) -> list[Anomaly]:
    """Find a process that sees less than it has seen."""
    found = []
    seen: dict[int, tuple[Any, ...]] = {}
    for operation, elements in reads:
        before = seen.get(operation.process, ())
        if lacking := set(before) - set(elements):
            text = (
                f"process {operation.process} has seen {min(map(str, lacking))} and no longer does"
            )
            found.append(Anomaly("backwards", key, text))
        seen[operation.process] = elements
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the file that is named, print the verdict, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pgmoor.testing.check", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("history", type=Path, help="a file with one line of JSON for each event")
    path: Path = parser.parse_args(arguments).history
    try:
        with path.open(encoding="utf-8") as lines:
            verdict = check(load(lines))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 2
    sys.stdout.write(f"{verdict}\n")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
