"""Reads PostgreSQL's messages in one connection's bytes, to find COMMITs and their answers.

Only from a connection's first byte on can messages be told apart. Bytes that are none of
PostgreSQL's, or that are encrypted, pass unread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 8192  # bytes of a message that are looked at
LONGEST_STARTUP = 10_000  # bytes, as in the server
ENCRYPTION = (80877103, 80877104)  # the codes of SSLRequest and GSSENCRequest
COMMITS = re.compile(rb"(?:^|;)\s*(?:commit|end)\b", re.IGNORECASE)


class CommitFault:
    """Which COMMITs of a proxy's clients are lost, and how many have been."""

    def __init__(self) -> None:
        self.round_trips = 0
        self.lost = 0
        self._left = 0.0
        self._delivered = False

    def arm(self, count: int | None, *, delivered: bool) -> None:
        """Lose the next *count* COMMITs, or all; if *delivered*, their answers only."""
        self._left = float("inf") if count is None else count
        self._delivered = delivered

    def strikes(self, *, answer: bool) -> bool:
        """Return whether a COMMIT that has come, or its *answer*, is to be lost; count it."""
        if self._left < 1 or answer is not self._delivered:
            return False
        self._left -= 1
        self.lost += 1
        return True


class Messages:
    """Splits the bytes of one direction into messages, as they arrive."""

    def __init__(self, on_message: Callable[[bytes], bool], *, typed: bool) -> None:
        self.typed = typed  # whether a byte with the message's type comes before its length
        self.lost = False  # whether these bytes can't be told apart (any more)
        self._on_message = on_message
        self._message = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> int | None:
        """Read what has arrived; return where the message begins that is to be withheld, if any.

        A message that began in earlier bytes begins at 0: an incomplete one has no effect.
        """
        begin = at = 0
        while at < len(data) and not self.lost:
            header = 5 if self.typed else 4
            if (missing := header - len(self._message)) > 0:
                self._message += data[at : at + missing]
                at = min(at + missing, len(data))
                if len(self._message) < header:
                    return None
                self._left = int.from_bytes(self._message[-4:]) - 4
                self.lost = self._left < 0 or (not self.typed and self._left > LONGEST_STARTUP)
            part = data[at : at + max(self._left, 0)]
            self._left -= len(part)
            at += len(part)
            self._message += part[: max(KEPT - len(self._message), 0)]
            if self._left == 0 and not self.lost:
                message = bytes(self._message)
                self._message.clear()
                if self._on_message(message):
                    return begin
                begin = at
        return None


class Wire:
    """Both directions of one client's connection."""

    def __init__(self, fault: CommitFault) -> None:
        self._fault = fault
        self._up = Messages(self._from_client, typed=False)
        self._down = Messages(self._from_server, typed=True)
        self._answers = 0  # single bytes to come, about encryption
        self._commits: set[bytes] = set()  # the names of prepared statements that commit

    def up(self, data: bytes) -> int | None:
        """Read what the client sent; return where to cut it off, if anywhere."""
        return self._up.feed(data)

    def down(self, data: bytes) -> int | None:
        """Read what the server sent; return where to cut it off, if anywhere."""
        if self._answers and data:
            self._answers = 0
            if data[:1] != b"N":
                self._up.lost = self._down.lost = True
                return None
            rest = self._down.feed(data[1:])
            return None if rest is None else rest + 1
        return self._down.feed(data)

    def _from_client(self, message: bytes) -> bool:
        if not self._up.typed:
            if int.from_bytes(message[4:8]) in ENCRYPTION:
                self._answers = 1
            else:
                self._up.typed = True
            return False
        kind, body = message[:1], message[5:]
        if kind in (b"Q", b"S"):
            self._fault.round_trips += 1
        if kind == b"P":
            name, _, query = body.partition(b"\0")
            (self._commits.add if COMMITS.search(query) else self._commits.discard)(name)
        elif kind == b"Q":
            return bool(COMMITS.search(body)) and self._fault.strikes(answer=False)
        elif kind == b"B":
            return body.split(b"\0", 2)[1] in self._commits and self._fault.strikes(answer=False)
        return False

    def _from_server(self, message: bytes) -> bool:
        return (
            message[:1] == b"C" and message[5:] == b"COMMIT\0" and self._fault.strikes(answer=True)
        )
