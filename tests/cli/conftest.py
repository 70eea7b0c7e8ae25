"""Run the command as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = """
import signal
# Always set: the tests themselves may have inherited either.
signal.signal(signal.SIGINT, signal.{sigint})
{code}
from pgmoor.__main__ import main
main()
"""


@pytest.fixture
def pgmoor() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `pgmoor` with these arguments, after *code*; it ends with the test.

    With *sigint_ignored* it starts as a shell script's `pgmoor ... &` does.
    """
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, code: str = "", sigint_ignored: bool = False
    ) -> subprocess.Popen[str]:
        sigint = "SIG_IGN" if sigint_ignored else "default_int_handler"
        process = subprocess.Popen(
            [sys.executable, "-c", RUN.format(code=code, sigint=sigint), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)
