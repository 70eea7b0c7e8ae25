from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor.testing import Cluster

    Start = Callable[..., subprocess.Popen[str]]

OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
RUN = "from pgmoor.__main__ import main; main()"
BREAKS = """
import pgmoor._cli.watch as watch
render, frames = watch.WatchScreen.render, []
def broken(*arguments):
    frames.append(1)
    if len(frames) > 5:
        raise ZeroDivisionError("the picture broke")
    return render(*arguments)
watch.WatchScreen.render = broken
"""
COLOURS = re.compile("\x1b\\[[0-9;]*m")
PATIENCE = 20.0  # seconds


class Terminal:
    """A program on a terminal of its own, and all that it has written there."""

    def __init__(self, *arguments: str, code: str = "") -> None:
        self._master, slave = os.openpty()
        self.resize(24, 90, None)
        environ = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + RUN, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environ, "TERM": "xterm-256color"},
        )
        os.close(slave)
        self.text = ""

    def resize(self, rows: int, columns: int, process: subprocess.Popen[bytes] | None) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if process is not None:
            process.send_signal(signal.SIGWINCH)

    def read_until(self, wanted: str) -> Self:
        """Read on until something new contains this."""
        start, deadline = len(self.text), monotonic() + PATIENCE
        while wanted not in COLOURS.sub("", self.text[start:]):
            assert monotonic() < deadline, self.text[start:]
            assert self._read(), f"it ended: {self.text[start:]}"
        return self

    def read_to_end(self) -> str:
        while self._read():
            pass
        return self.text

    def _read(self) -> bool:
        if not select.select([self._master], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def terminal(*arguments: str, code: str = "") -> Iterator[Terminal]:
    one = Terminal(*arguments, code=code)
    try:
        yield one
    finally:
        one.close()


def assert_left_clean(text: str) -> str:
    """Check that the first screen and the cursor are back; return what stands there."""
    assert OTHER_SCREEN in text
    assert text.rfind(FIRST_SCREEN) > text.rfind(OTHER_SCREEN)
    assert text.rfind(SHOWN) > text.rfind(HIDDEN)
    return text[text.rfind(FIRST_SCREEN) :]


async def test_watch_draws_in_the_size_of_the_terminal_and_ctrl_c_leaves_it_clean(
    alone: Cluster,
) -> None:
    with terminal("watch", alone.conninfo()) as shown:
        shown.read_until("answers/s").read_until("in use")
        assert f"events {'─' * (90 - len('events '))}\r\n" in COLOURS.sub("", shown.text)

        shown.resize(20, 60, shown.process)
        shown.read_until(f"events {'─' * (60 - len('events '))}\r\n")

        shown.process.send_signal(signal.SIGINT)
        left = assert_left_clean(shown.read_to_end())

        assert shown.process.wait(PATIENCE) == 130
    assert f"{alone[0].host}:{alone[0].port}" in left
    assert "longest wait" in left
    assert "Traceback" not in left


async def test_sigterm_leaves_the_terminal_clean(alone: Cluster) -> None:
    with terminal("watch", alone.conninfo()) as shown:
        shown.read_until("in use")

        shown.process.send_signal(signal.SIGTERM)
        left = assert_left_clean(shown.read_to_end())

        assert shown.process.wait(PATIENCE) == 143
    assert "Traceback" not in left


def test_an_exception_leaves_the_terminal_clean() -> None:
    with terminal("watch", "host=127.0.0.1 port=1", code=BREAKS) as shown:
        left = assert_left_clean(shown.read_to_end())

        assert shown.process.wait(PATIENCE) == 1
    plain = re.sub(r"\x1b\[[0-9;]*m", "", left)  # Python 3.13 colours tracebacks
    assert "ZeroDivisionError: the picture broke" in plain


async def test_without_a_terminal_watch_prints_lines(pgmoor: Start, pair: Cluster) -> None:
    process = pgmoor("watch", pair.conninfo())
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    first = f"{pair[0].host}:{pair[0].port}"
    assert next(line for line in lines if "answers/s" in line).split()[1] == "state"

    await pair[0].kill()
    await pair[1].promote()

    moved = next(line for line in lines if f"failed over from {first}" in line)
    process.send_signal(signal.SIGTERM)
    rest, err = process.communicate(timeout=20)
    assert moved.split()[1] == "pgmoor"
    assert (process.returncode, err) == (143, "")
    assert "answers, longest wait" in rest.splitlines()[-1]
    assert "\x1b" not in rest


def test_unusable_settings_are_refused_in_one_line(pgmoor: Start) -> None:
    process = pgmoor("watch", "postgresql://app:hunter2@db:port/orders")

    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (2, "")
    assert err.startswith("pgmoor: ")
    assert "hunter2" not in err
