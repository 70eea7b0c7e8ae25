"""Reads the answer to a question of our own, and no more than such an answer can be.

A server that never ends would fill the memory for as long as it is listened to.
"""

from __future__ import annotations

import array
import fcntl
import termios
from typing import TYPE_CHECKING

from psycopg import errors, generators, pq
from psycopg.waiting import Wait

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

# An honest answer has less than 1000. Before it come the notifications that have arrived since the
# connection was used last.
MOST_BYTES = 4 * 1024 * 1024
MOST_RESULTS = 3
COPY = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})


class NoAnswer(errors.OperationalError):
    """What the server sends is no answer to the question."""


def read_answer(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Return the results of the query that was sent; raise `NoAnswer` when there is no end to them.

    One of psycopg's generators, to be run by its means. After `NoAnswer` the connection can't be
    used any more.
    """
    yield from generators.send(pgconn)
    unread = array.array("i", [0])
    results: list[PGresult] = []
    heard = 0
    while True:
        while pgconn.is_busy():
            while not (yield Wait.R):
                pass
            fcntl.ioctl(pgconn.socket, termios.FIONREAD, unread)
            heard += unread[0]
            if heard > MOST_BYTES:
                raise NoAnswer("its answer has no end")
            pgconn.consume_input()
        while pgconn.notifies():
            pass
        result = pgconn.get_result()
        if result is None:
            return results
        if result.status in COPY or len(results) == MOST_RESULTS:
            raise NoAnswer("its answer is none to the question")
        results.append(result)
