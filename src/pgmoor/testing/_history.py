"""`History`: what a program's operations were and how they ended, one JSON line for each event."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Micro = tuple[str, int, Any]


class History:
    """Writes a history of list-append transactions, in the form that Jepsen's tools read.

    `with History(path) as history:` writes to the file as things happen. A transaction's value is a
    list of `("append", key, element)` and `("r", key, elements)`.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._index = 0
        self._began = time.monotonic_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def invoke(self, process: int, value: Sequence[Micro]) -> None:
        """Note that a process begins a transaction; what it is to read is None."""
        self._write("invoke", process, value)

    def ok(self, process: int, value: Sequence[Micro]) -> None:
        """Note that it has committed, and what it has read."""
        self._write("ok", process, value)

    def fail(self, process: int, value: Sequence[Micro]) -> None:
        """Note that it has surely not committed."""
        self._write("fail", process, value)

    def info(self, process: int, value: Sequence[Micro]) -> None:
        """Note that nobody can tell; give the process another number from now on."""
        self._write("info", process, value)

    def _write(
        self, kind: Literal["invoke", "ok", "fail", "info"], process: int, value: Sequence[Micro]
    ) -> None:
        line = {
            "index": self._index,
            "time": time.monotonic_ns() - self._began,
            "type": kind,
            "process": process,
            "f": "txn",
            "value": value,
        }
        self._index += 1
        self._file.write(json.dumps(line) + "\n")
