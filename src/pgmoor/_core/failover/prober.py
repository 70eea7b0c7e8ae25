"""Asks one host who it is, over a connection of its own: a full pool is not a dead host.

What has been asked is left to wait for its answer, see `attempts`. So a host has two sessions of
its probe at most: one whose question waits, and one beside it that shows whether others are served.
Behind a pooler a second question would wait as the first does, so the second session is closed as
soon as it is there.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import anyio
from psycopg import errors, pq

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.dialling.connector import failure_of
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.hearing import LOST_AFTER, Hearing, patience
from pgmoor._core.hosts.host import Observation
from pgmoor._core.util.awake_limit import LATE, AwakeLimit

from .attempts import Dial, Pending, Question, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.connection.abortable import AbortableConnection
    from pgmoor._core.connection.progress import DialProgress
    from pgmoor._core.dialling.connector import Connector
    from pgmoor._core.hosts.host import Host, ServerInfo
    from pgmoor._core.settings.settings import Settings

    from .attempts import Attempt

IDLE = pq.TransactionStatus.IDLE
LOSSES = frozenset({FailureKind.RESET, FailureKind.TIMEOUT, FailureKind.OTHER})
ENDED = "57P01"  # admin_shutdown: somebody ended this session, or the server is about to stop


class Prober:
    """Keeps the probe connection to one host."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        connector: Connector,
        connection_class: type[AbortableConnection],
        *,
        hearing: Hearing | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.host = host
        self._connector = connector
        self._class = connection_class
        self._settings = settings
        self._hearing = hearing or Hearing()
        self._wake = wake  # called when there may be an answer that nobody waits for
        self._listens = False
        self._identity = connector.identity
        self._patience = settings.health_timeout  # seconds for an answer
        self._conn: AbortableConnection | None = None  # over which nothing is asked now
        self._dialled_at: float | None = None  # when the newest connection was made
        self._round_trip = 0.0  # seconds; the longest wait of that dial
        self._pooled = False
        self._pending = Pending()
        self._news = asyncio.Event()

    async def probe(self, max_age: float = float("inf"), *, renew: bool = False) -> Observation:
        """Ask over the present connection, or a new one when that is older than *max_age* seconds.

        With *renew* a new one is tried first, and the present one is kept if there is none. Return
        what was learnt, within about `health_timeout`; never raise psycopg's errors.
        """
        self._listens = True
        try:
            return await self._probe(max_age, renew=renew)
        finally:
            self._listens = False

    async def _probe(self, max_age: float, *, renew: bool) -> Observation:
        turn = Turn(monotonic(), renew=renew and self._conn is not None)
        self._forget_undelivered()
        if self._conn is not None and turn.began_at - (self._dialled_at or 0.0) > max_age:
            self._drop_session()
        while True:
            self._news.clear()
            seen = self._answer(turn)
            if seen is not None:
                return seen
            self._ask(turn)
            if not await self._hears(turn) and not self._tries_present(turn):
                return self._silence(turn)

    # -- asking --------------------------------------------------------------------------------

    def _ask(self, turn: Turn) -> None:
        """Begin what is to be asked in this turn and was not yet."""
        if turn.renews and not turn.dialled:
            turn.dialled = True
            if not self._pending.dials:
                self._dial(renews=True)
                return
            turn.renews = False  # one is being made for long: the present one tells the rest
        if turn.renews:
            return
        if self._conn is not None:
            conn, self._conn = self._conn, None
            self._question(conn, new_session=False)
        elif not turn.dialled and self._may_dial():
            turn.dialled = True
            self._dial(renews=False)

    def _may_dial(self) -> bool:
        """Return whether a new session would tell more than what is asked already."""
        if not self._pending.questions:
            return len(self._pending.dials) < 2 and all(map(self._is_stuck, self._pending.dials))
        return not self._pending.dials and self._is_stuck(self._pending.questions[-1])

    def _is_stuck(self, attempt: Attempt) -> bool:
        """Return whether nothing at all was heard for the time that an answer may take."""
        since = attempt.heard_at if isinstance(attempt, Dial) else attempt.began_at
        heard_at = self._hearing.statement_at if self._pooled else since
        return monotonic() - max(since, heard_at) >= self._patience

    def _question(self, conn: AbortableConnection, *, new_session: bool) -> None:
        self._pending.questions.append(
            Question(conn, self._who, self._tell, new_session=new_session)
        )

    async def _who(self, conn: AbortableConnection) -> ServerInfo:
        return await self._identity.ask(conn, LOST_AFTER)

    def _dial(self, *, renews: bool) -> None:
        self._pending.dials.append(Dial(self._hearing, self._connect, self._tell, renews=renews))

    async def _connect(self, progress: DialProgress) -> AbortableConnection:
        limit = self._patience
        began = monotonic()

        def goes_on() -> bool:
            return monotonic() - began < LOST_AFTER and not progress.has_no_end

        return await self._connector.connect(self._class, limit, progress, goes_on)

    def _tell(self) -> None:
        self._news.set()
        if not self._listens:
            self._wake()

    def _tries_present(self, turn: Turn) -> bool:
        """Return whether the present session is still to be asked: a new one has not come."""
        waited, turn.renews = turn.renews, False
        self._forget_undelivered()
        return waited and self._conn is not None

    # -- answers -------------------------------------------------------------------------------

    def _answer(self, turn: Turn) -> Observation | None:
        """Take in what was answered; return what is learnt of the host, if anything is."""
        return self._dialled(turn) or self._answered(turn)

    def _dialled(self, turn: Turn) -> Observation | None:
        for dial in [dial for dial in self._pending.dials if dial.done]:
            self._pending.dials.remove(dial)
            if dial.error is None and dial.conn is not None:
                self._arrived(dial.conn, dial.progress)
                turn.renews, turn.dialled = False, True
            elif self._conn is not None or turn.asks(self._pending.questions):
                turn.renews = False  # it accepts none: the present one tells the rest
            elif self._is_late_loss(dial, turn) or self._is_first_end(dial, turn):
                turn.dialled = False
            else:
                return self._failed(dial.error, turn)
        return None

    def _answered(self, turn: Turn) -> Observation | None:
        for question in [question for question in self._pending.questions if question.done]:
            if question not in self._pending.questions:
                continue  # a later one was answered
            self._pending.questions.remove(question)
            if question.info is not None:
                return self._told(question, question.info)
            if not self._lives(question):
                question.conn.discard()
                # Only this session may have ended: a new one tells.
                late, was_kept = self._is_late_loss(question, turn), not question.new_session
                if late or was_kept or self._is_first_end(question, turn):
                    turn.dialled = False
                    continue
            return self._failed(question.error, turn)
        return None

    def _is_late_loss(self, attempt: Attempt, turn: Turn) -> bool:
        """Return whether something that was asked long ago was lost: a new session tells more.

        The server may have had enough of it (`authentication_timeout`).
        """
        return attempt.began_at < turn.began_at and self._kind_of(attempt) in LOSSES

    def _is_first_end(self, attempt: Attempt, turn: Turn) -> bool:
        """Return whether a new session has ended, and none before it in this turn; note that.

        Sessions end for reasons of their own (`pg_terminate_backend`). What cuts a login, and is
        not the server, would cut the next one as well.
        """
        if isinstance(attempt, Dial):
            ended = getattr(attempt.error, "sqlstate", None) == ENDED
        else:
            ended = self._kind_of(attempt) is FailureKind.RESET
        if turn.lost_at is not None or not ended:
            return False
        turn.lost_at = monotonic()
        return True

    def _kind_of(self, attempt: Attempt) -> FailureKind:
        error = attempt.error or TimeoutError()
        return failure_of(error, self._settings, self._patience).kind

    def _arrived(self, conn: AbortableConnection, progress: DialProgress) -> None:
        """Use a new session, if more than that it was made is to be learnt by it."""
        self._round_trip = progress.longest_wait
        if len(self._pending.questions) < (1 if self._pooled else 2):
            self._dialled_at = monotonic()
            self._drop_session()
            self._question(conn, new_session=True)
        else:
            conn.discard()

    def _lives(self, question: Question) -> bool:
        """Return whether an error was the server's answer to a question, and its session lives."""
        answered = isinstance(question.error, errors.Error) and question.error.sqlstate is not None
        if answered and question.conn.pgconn.transaction_status == IDLE:
            self._keep(question)
            return True
        return False

    def _told(self, question: Question, info: ServerInfo) -> Observation:
        for earlier in [
            other for other in self._pending.questions if other.began_at < question.began_at
        ]:
            self._pending.give_up(earlier)  # its answer would be older
        self._keep(question)
        self._pooled = bool(info.pooled)
        now = monotonic()
        self._round_trip = min(self._round_trip, now - question.began_at)
        least, most = self._settings.health_timeout, self._settings.connect_timeout
        self._patience = patience(least, self._round_trip, most)
        return Observation(
            self.host.index,
            question.began_at,
            now,
            info=info,
            new_session=question.new_session,
        )

    def _keep(self, question: Question) -> None:
        self._drop_session()
        self._conn = question.conn

    def _failed(self, error: Exception | None, turn: Turn) -> Observation:
        failure = failure_of(error or TimeoutError(), self._settings, self._patience)
        return Observation(self.host.index, turn.began_at, monotonic(), failure=failure)

    # -- silence -------------------------------------------------------------------------------

    async def _hears(self, turn: Turn) -> bool:
        """Wait until something was answered; return False if it takes too long."""
        while True:
            due = self._pending.asked_at(turn) + self._patience
            with AwakeLimit(max(due - monotonic(), 0.0)) as limit:
                await self._news.wait()
            if not limit.expired or self._news.is_set():
                return True
            if self._pending.asked_at(turn) + self._patience > monotonic():
                continue
            if turn.extended or not any(
                asked.conn.has_unread() for asked in self._pending.questions
            ):
                return False
            turn.extended = True
            with anyio.move_on_after(LATE):  # let what has arrived be read first
                await self._news.wait()

    def _silence(self, turn: Turn) -> Observation:
        """Return what the lack of an answer means, and give up what the host knows nothing of."""
        since = turn.began_at if turn.lost_at is None else turn.lost_at
        served = self._hearing.statement_at > since
        heard = self._hearing.since(since)
        what = "no answer" if self._pending.dials else "no answer to a health check"
        kind = FailureKind.UNANSWERED if heard else FailureKind.TIMEOUT
        failure = Failure(kind, f"{what} within {self._patience:.3g} s")
        self._forget_undelivered()
        if self._dialled_at is None:  # it takes several round trips, over a long way perhaps
            self._patience = min(self._patience * 2, self._settings.connect_timeout)
        return Observation(
            self.host.index, turn.began_at, monotonic(), failure=failure, served=served
        )

    def _forget_undelivered(self) -> None:
        # A path may be slower than a health check: where nothing else tells, a dial gets more time.
        most = self._settings.connect_timeout if self._conn is None else self._patience
        self._pending.forget_undelivered(self._patience, most)

    # -- the end -------------------------------------------------------------------------------

    def _drop_session(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None and conn.pgconn.status != BAD:
            conn.discard()

    def close(self) -> None:
        """Give up what was asked, and close the probe's connections."""
        self._pending.close()
        self._drop_session()

    async def aclose(self) -> None:
        """Close, and wait for the tasks to end, `cancel_timeout` at most."""
        self.close()
        await self._pending.wait_for_end(self._settings.cancel_timeout)
