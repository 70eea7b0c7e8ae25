"""Makes connections for one host's pool: each dial is bounded, and each server asked who it is.

`Dialler.dial()` is what the pool calls. It tries until it succeeds or its pool is retired.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from psycopg_pool import PoolClosed

from pgmoor._core.connection.managed import ManagedConnection
from pgmoor._core.connection.progress import DialProgress
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.host import Observation
from pgmoor._core.hosts.sharing import concerns_one_login
from pgmoor._core.reporting.instrument_list import ended
from pgmoor._core.util.asynctools import being_cancelled
from pgmoor._core.util.backoff import delays
from pgmoor._core.util.hooks import NotAwaitableError, call_hook, how_it_failed

from .connector import failure_of
from .login_throttle import REJECTIONS, RETRY_INTERVAL
from .long_wait import LongWait
from .users_connect import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pgmoor._core.hosts.hearing import Hearing
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.state.evidence import Evidence
    from pgmoor.instruments import Instrument

    from .connector import Connector

C = TypeVar("C", bound=ManagedConnection)


class HostLeft(PoolClosed):
    """The host was left while a connection to it was being made."""


class _Attempt:
    """One attempt of a dial, and the pause after it."""

    def __init__(self, hearing: Hearing, *, again: bool) -> None:
        self.scope = anyio.CancelScope()
        self.again = again  # another one was broken off for it
        self.waits = False  # it has failed, and the next one is waited for
        self.answered_at = float("-inf")  # when its question was answered
        self.conn: ManagedConnection | None = None
        self.progress = DialProgress(hearing)

    @property
    def heard_at(self) -> float:
        """When something was last heard of the server."""
        return max(self.progress.heard_at, self.answered_at)


class Dialler(Generic[C]):
    """Makes the connections of one host's pool."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        host: Host,
        evidence: Evidence,
        *,
        connection_class: type[C],
        configure: Callable[[Any], Awaitable[None]] | None,
        instruments: Iterable[Instrument],
        own_login: bool = False,  # not the manager's: what is refused to it, tells nothing of that
    ) -> None:
        self.failed_at: float | None = None  # since when the host has not answered as it should
        self._settings = settings
        self._connector = connector
        self._host = host
        self._evidence = evidence
        self._hearing = evidence.hearings.of(host.index)
        self._class = connection_class
        self._configure = configure
        self._instruments = instruments
        self._own_login = own_login
        self._identity = connector.identity
        self._attempts: set[_Attempt] = set()
        self._retired = False

    def retire(self) -> None:
        """End all dials: the pool is being closed."""
        self._retired = True
        for attempt in tuple(self._attempts):
            if attempt.conn is not None:  # a `configure` may ignore its cancellation
                attempt.conn.abort("the pool was closed while it was being made")
            attempt.scope.cancel()

    def restart(self) -> None:
        """Start the pending dials again that may have lost something since `failed_at`.

        The host has just answered after a failure: a dial that waits for a retransmission or in its
        backoff would take seconds longer. One that was started again is left alone for once, or a
        host that falters again and again would never give a connection.
        """
        failed_at, self.failed_at = self.failed_at, None
        if failed_at is None:
            return
        for attempt in tuple(self._attempts):
            if attempt.waits or (attempt.heard_at < failed_at and not attempt.again):
                attempt.again = not attempt.waits
                attempt.scope.cancel()

    def outdone(self, asked_at: float) -> None:
        """Start the dials again of which nothing was heard for long, while a later one succeeded.

        *asked_at* is when that one was begun.
        """
        for attempt in tuple(self._attempts):
            began_at = attempt.progress.began_at
            if began_at is None or attempt.waits or attempt.again:
                continue
            if max(began_at, attempt.heard_at) + self._settings.connect_timeout < asked_at:
                attempt.again = True
                attempt.scope.cancel()

    async def dial(self, wanted: Callable[[], bool] = lambda: True) -> C:
        """Return a tested connection, however long that takes.

        Raises `HostLeft` once the pool is retired, or the connection isn't *wanted* any more; with
        a login of its own, `ConnectFailed` if that is refused.
        """
        waits = delays(self._settings.backoff_base, self._settings.backoff_cap)
        again = False
        while self._goes_on() and wanted():
            attempt = _Attempt(self._hearing, again=again)
            self._attempts.add(attempt)
            try:
                with attempt.scope:
                    outcome = await self._observed_attempt(attempt)
                    if not isinstance(outcome, Failure):
                        return outcome
                    if not self._goes_on():
                        break
                    if self._own_login and (
                        concerns_one_login(outcome) or outcome.kind is FailureKind.OTHER
                    ):
                        raise ConnectFailed(outcome)
                    attempt.waits = True
                    self._evidence.dial_failed(self._host, outcome)
                    await self._back_off(outcome, next(waits))
            finally:
                self._attempts.discard(attempt)
            again = attempt.scope.cancelled_caught and not attempt.waits
        raise HostLeft(f"the manager left {self._host}")

    def _goes_on(self) -> bool:
        return not self._retired

    async def _observed_attempt(self, attempt: _Attempt) -> C | Failure:
        began = monotonic()
        ends = [instrument.dialling(self._host.label) for instrument in self._instruments]
        try:
            outcome = await self._attempt(attempt)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError) or being_cancelled():
                ended(ends, error)
                raise
            outcome = Failure(FailureKind.OTHER, "`configure` was cancelled")
        if isinstance(outcome, Failure):
            ended(ends, outcome.kind.value)
        else:
            ended(ends, None)
            for instrument in self._instruments:
                instrument.dialled(monotonic() - began)
        return outcome

    async def _attempt(self, attempt: _Attempt) -> C | Failure:
        limit = self._settings.connect_timeout
        waiting = LongWait(self._settings, self._host, self._evidence, attempt.progress)
        try:
            with waiting.for_login():
                conn = await self._connector.connect(
                    self._class, limit, attempt.progress, waiting.login_is_late
                )
        except Exception as error:  # noqa: BLE001  `connection_class` is the user's
            return failure_of(error, self._settings, limit)
        attempt.conn, conn.hearing = conn, self._hearing
        kept = False
        try:
            asked_at = monotonic()
            late = partial(waiting.answer_is_late, conn)
            info = await self._identity.ask(conn, waiting.patience, late)
            attempt.answered_at = monotonic()
            seen = Observation(
                self._host.index, asked_at, attempt.answered_at, info=info, dialled=True
            )
            if not self._own_login:
                self._evidence.observe(seen)
            # This connection's own answer decides, whatever a probe has learnt meanwhile: one
            # address may lead to several servers.
            if rejection := self._evidence.rejects(seen):
                return rejection
            if info.pooled and "prepare_threshold" not in self._settings.connect_args:
                conn.prepare_threshold = None  # the next transaction may be on another server
            failure = await self._run_configure(conn)
            if failure is None and self._retired:
                failure = Failure(FailureKind.OTHER, "the manager left the host")
            kept = failure is None
            if kept and not self._own_login:
                self._evidence.dial_succeeded(self._host)
        except Exception as error:  # noqa: BLE001  the server's answer may be anything
            return failure_of(error, self._settings, limit)
        finally:
            if not kept:
                conn.discard()
        return conn if failure is None else failure

    async def _back_off(self, failure: Failure, delay: float) -> None:
        if failure.kind in REJECTIONS:
            least = self._connector.throttle.wait_time(monotonic()) or RETRY_INTERVAL
            await self._connector.wait_for_login(max(delay, least))
        else:
            await asyncio.sleep(delay)

    async def _run_configure(self, conn: C) -> Failure | None:
        """Run the user's `configure`; return why the connection can't be used then, if so."""
        if self._configure is None:
            return None
        limit = self._settings.connect_timeout
        try:
            with anyio.fail_after(limit) as scope:
                await call_hook("configure", self._configure, conn)
        except Exception as error:  # noqa: BLE001  it may raise anything
            if scope.cancelled_caught:
                return Failure(FailureKind.TIMEOUT, f"`configure` took longer than {limit:g} s")
            failure = failure_of(error, self._settings, limit)
            said = (
                f": {failure.text}"
                if str(error) and not isinstance(error, NotAwaitableError)
                else ""
            )
            return Failure(failure.kind, how_it_failed("configure", error) + said)
        status = conn.info.transaction_status.name
        if status == "IDLE":
            return None
        return Failure(
            FailureKind.OTHER, f"`configure` left the connection in status {status}; let it commit"
        )
