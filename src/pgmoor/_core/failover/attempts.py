"""What the probe of a host has asked and not been told yet: it outlasts the probe.

A question that was given up would still wait in the server, or in a pooler in front of it: one a
second, until nobody else gets in. So it is left to wait, and its late answer is an answer.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import anyio
from psycopg import errors

from pgmoor._core.connection.progress import DialProgress, is_delivered
from pgmoor._core.util.asynctools import spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor._core.connection.abortable import AbortableConnection
    from pgmoor._core.hosts.hearing import Hearing
    from pgmoor._core.hosts.host import ServerInfo


class Attempt:
    """Something that is asked of a host, in a task of its own."""

    def __init__(self, name: str, tell: Callable[[], None]) -> None:
        self.began_at = monotonic()
        self.error: Exception | None = None
        self.done = False
        self._tell = tell
        self._scope = anyio.CancelScope()
        self.task = spawn(self._run(), name)

    async def _run(self) -> None:
        self.error = errors.OperationalError("the attempt was cancelled")
        try:
            with self._scope:
                try:
                    await self._work()
                except Exception as error:  # noqa: BLE001  whatever it is, there was no answer
                    self.error = error
                else:
                    self.error = None
        finally:
            self.done = True
            self._tell()

    async def _work(self) -> None:
        raise NotImplementedError

    def cancel(self) -> None:
        """Give it up."""
        self._scope.cancel()


class Question(Attempt):
    """Who the server is, asked over a session."""

    def __init__(
        self,
        conn: AbortableConnection,
        ask: Callable[[AbortableConnection], Awaitable[ServerInfo]],
        tell: Callable[[], None],
        *,
        new_session: bool,
    ) -> None:
        self.conn = conn
        self.new_session = new_session  # which nothing was asked over before
        self.info: ServerInfo | None = None
        self._ask = ask
        super().__init__("pgmoor-question", tell)

    async def _work(self) -> None:
        self.info = await self._ask(self.conn)

    @property
    def is_delivered(self) -> bool:
        """Whether the server may know of it."""
        return is_delivered(self.conn.pgconn)

    def cancel(self) -> None:
        """Give it up, with its session."""
        super().cancel()
        self.conn.discard()


class Dial(Attempt):
    """A new session."""

    def __init__(
        self,
        hearing: Hearing,
        connect: Callable[[DialProgress], Awaitable[AbortableConnection]],
        tell: Callable[[], None],
        *,
        renews: bool,
    ) -> None:
        self.progress = DialProgress(hearing)
        self.renews = renews  # another session may tell as well
        self.conn: AbortableConnection | None = None
        self._connect = connect
        super().__init__("pgmoor-probe-dial", tell)

    async def _work(self) -> None:
        conn = await self._connect(self.progress)
        if self._scope.cancel_called:  # it was made in the instant in which this was given up
            conn.discard()
        else:
            self.conn = conn

    @property
    def is_delivered(self) -> bool:
        """Whether the server may know of it."""
        return self.progress.is_delivered()

    @property
    def heard_at(self) -> float:
        """When it was begun, or has last heard something; names and credentials take their time."""
        if self.progress.began_at is None:
            return monotonic()
        return max(self.progress.began_at, self.progress.heard_at)

    def cancel(self) -> None:
        """Give it up."""
        super().cancel()
        if self.conn is not None:
            self.conn.discard()


class Turn:
    """One probe: when it began, and what is left to try in it."""

    def __init__(self, began_at: float, *, renew: bool) -> None:
        self.began_at = began_at
        self.renews = renew  # a new session is waited for first
        self.dialled = False
        self.lost_at: float | None = None  # when a new session ended before it had told anything
        self.extended = False  # what arrived at the last moment was waited for

    def asks(self, questions: list[Question]) -> bool:
        """Return whether one of the questions was asked in this turn, or has been answered."""
        return any(
            question.began_at >= self.began_at or (question.done and question.info is not None)
            for question in questions
        )


class Pending:
    """What was asked of one host and not answered yet."""

    def __init__(self) -> None:
        self.questions: list[Question] = []  # the oldest first, as below
        self.dials: list[Dial] = []
        self._ended: set[asyncio.Task[None]] = set()  # given up, and not over yet

    def asked_at(self, turn: Turn) -> float:
        """Return when the newest was asked; names and credentials have limits of their own."""
        asked = [question.began_at for question in self.questions]
        for dial in self.dials:
            if dial.progress.began_at is not None:
                asked.append(dial.progress.began_at)
            elif not self.questions:
                asked.append(monotonic())
        return max([turn.began_at, *asked])

    def forget_undelivered(self, patience: float, most: float) -> None:
        """Give up what waits for *patience* seconds, and the host knows nothing of.

        The oldest dial may wait for *most* seconds.
        """
        now = monotonic()
        for question in [question for question in self.questions if not question.done]:
            if now - question.began_at >= patience and not question.is_delivered:
                self.give_up(question)
        for dial in [dial for dial in self.dials if not dial.done]:
            longest = most if dial is self.dials[0] else patience
            if now - dial.heard_at >= longest and not dial.is_delivered:
                self.give_up(dial)

    def give_up(self, attempt: Question | Dial) -> None:
        """End an attempt."""
        attempt.cancel()
        self._ended.add(attempt.task)
        attempt.task.add_done_callback(self._ended.discard)
        if isinstance(attempt, Dial):
            self.dials.remove(attempt)
        else:
            self.questions.remove(attempt)

    def close(self) -> None:
        """Give everything up."""
        for question in tuple(self.questions):
            self.give_up(question)
        for dial in tuple(self.dials):
            self.give_up(dial)

    async def wait_for_end(self, longest: float) -> None:
        """Wait until the tasks of what was given up have ended, *longest* seconds at most."""
        if self._ended:
            await asyncio.wait(tuple(self._ended), timeout=longest)
