"""`History`: what a program's operations were and how they ended, as elle-cli reads it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Micro = tuple[str, int, Any]


class History:
    """Writes a history of list-append transactions, as a JSON array that elle-cli reads.

    `with History(path) as history:` writes each event to the file at once, on its own line, and
    closes the array at the end. A transaction's value is a list of `("append", key, element)` and
    `("r", key, elements)`. The file's name must end in `.json` for elle-cli.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._index = 0
        self._began = time.monotonic_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.write("\n]\n" if self._index else "[]\n")
        self._file.close()

    def invoke(self, process: int, value: Sequence[Micro]) -> None:
        """Note that a process begins a transaction; what it will read is still None."""
        self._write("invoke", process, value)

    def ok(self, process: int, value: Sequence[Micro]) -> None:
        """Note that it has committed, and what it has read."""
        self._write("ok", process, value)

    def fail(self, process: int, value: Sequence[Micro]) -> None:
        """Note that it has certainly not committed."""
        self._write("fail", process, value)

    def info(self, process: int, value: Sequence[Micro]) -> None:
        """Note that its outcome is unknown; from now on, give the process another number."""
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
        self._file.write(("[" if self._index == 0 else ",") + "\n" + json.dumps(line))
        self._index += 1
