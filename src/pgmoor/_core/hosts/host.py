"""One host of the list: its address, what its server says of itself, and its state. Pure.

A state is never changed, but followed by the next: `HostState.after(seen)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgmoor.health import Role, Status, role_label

from .failures import Failure, FailureKind

# Two unanswered probes in a row: one may be a lost packet or a pause of the server.
MISSES_UNTIL_SILENT = 2

_STATUS_BY_FAILURE: dict[FailureKind, Status] = {
    FailureKind.REFUSED: Status.DOWN,
    FailureKind.RESET: Status.DOWN,
    FailureKind.NAME: Status.DOWN,
    FailureKind.PROTOCOL: Status.DOWN,
    FailureKind.SOURCE: Status.DOWN,  # the host may work, but nobody can tell
    FailureKind.STARTING: Status.STARTING,
    FailureKind.CREDENTIALS: Status.REJECTED,
    FailureKind.CONFIGURATION: Status.REJECTED,
}
# These say nothing against the host: it answered, but has no room, another role, or something that
# nobody understands.
_KEEPS_STATUS = frozenset(
    {
        FailureKind.SATURATED,
        FailureKind.RESOURCES,
        FailureKind.ROLE,
        FailureKind.UNWILLING,
        FailureKind.STATEMENT,
        FailureKind.UNANSWERED,
    }
)
_SAYS_NOTHING = frozenset({FailureKind.TIMEOUT, FailureKind.OTHER})
# A server says so itself: one such answer is enough.
_REJECTIONS = frozenset({FailureKind.CREDENTIALS, FailureKind.CONFIGURATION, FailureKind.UNWILLING})
# What `configure` raises is no fault of the host, and a full server is not left.
_SAYS_NOTHING_OF_SESSIONS = _KEEPS_STATUS - {*_REJECTIONS, FailureKind.UNANSWERED} | {
    FailureKind.OTHER,
    FailureKind.SOURCE,
}


@dataclass(frozen=True, slots=True)
class Host:
    """One server address. No other host gets its index for as long as it is in the list."""

    index: int
    host: str
    port: int
    hostaddr: str | None = None

    @property
    def address(self) -> tuple[str, str | None, int]:
        """The address that tells hosts of a list apart."""
        return self.host, self.hostaddr, self.port

    @property
    def label(self) -> str:
        """The name in logs, events and errors: `host:port`."""
        name = self.host or self.hostaddr or "local socket"
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server said of itself; None where it can't tell."""

    in_recovery: bool | None = None
    writable: bool | None = None
    timeline: int | None = None
    system_id: int | None = None
    lag: float | None = None  # seconds of replay behind the primary, on a standby
    started: int | None = None  # microseconds since the epoch; tells servers apart
    pooled: bool | None = None  # a pooler stands in front of it
    own_mode: bool = False  # it refuses writes by a setting of our role, database or session


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of asking one host once: server info, or a failure."""

    host: int
    asked_at: float  # time.monotonic()
    answered_at: float
    info: ServerInfo | None = None
    failure: Failure | None = None
    served: bool = False  # statements of others were answered meanwhile
    dialled: bool = False  # asked over a new connection for the pool, not by the host's probe
    new_session: bool = False  # by the probe, over a new connection


@dataclass(frozen=True, slots=True)
class DialTrouble:
    """The dials for the pool fail since the last one that succeeded; instants are monotonic."""

    failure: Failure  # the newest
    since: float
    last: float
    count: int = 1

    @property
    def no_sessions(self) -> bool:
        """Whether the host accepts no new connections; one failure may be a lost packet."""
        kind = self.failure.kind
        if kind in _SAYS_NOTHING_OF_SESSIONS:
            return False
        return self.count > 1 or kind in _REJECTIONS


@dataclass(frozen=True, slots=True)
class HostState:
    """All that is known of one host, by the newest observation of it."""

    host: Host
    status: Status = Status.UNKNOWN
    role: Role = Role.UNKNOWN
    writable: bool | None = None
    timeline: int | None = None
    system_id: int | None = None
    former_system_id: int | None = None  # of the cluster that it belonged to before
    lag: float | None = None
    started: int | None = None
    pooled: bool | None = None
    latency: float | None = None  # seconds the newest answer took
    asked_at: float = float("-inf")  # of the newest observation
    told_at: float = float("-inf")  # of the newest one that was not a mere lack of an answer
    answered_at: float = float("-inf")  # of the newest observation that was an answer
    since: float = float("-inf")  # when the status began
    down_since: float | None = None  # when it stopped being up; None if it is, or never was
    steady_since: float | None = (
        None  # since when every answer has been the same, without a failure
    )
    misses: int = 0  # unanswered questions in a row
    silent_since: float | None = None  # when the first of these questions was asked
    unanswered_since: float | None = None  # since when it lives, and answers no statement
    failure: Failure | None = None  # the newest, until an answer clears it
    dials: DialTrouble | None = None  # until a new connection is made

    @property
    def refuses_sessions(self) -> bool:
        """Whether it accepted no new connection when one was last wanted."""
        return self.dials is not None and self.dials.no_sessions

    @property
    def is_unanswered(self) -> bool:
        """Whether it lives, and the newest question of who it is waits for its answer."""
        return self.failure is not None and self.failure.kind is FailureKind.UNANSWERED

    @property
    def label(self) -> str:
        """What the host is, in a word or two."""
        return role_label(self.role.value, self.writable)

    def after(self, seen: Observation) -> HostState:
        """Return the state that follows from an observation of this host."""
        if seen.info:
            return self._answered(seen, self._completed(seen.info))
        return self._dial_failed(seen) if seen.dialled else self._failed(seen)

    def after_late(self, seen: Observation) -> HostState:
        """Return the state that follows from an answer to what was asked before the newest answer.

        A new session is there, whatever else was told meanwhile. And as long as a primary runs, its
        timeline stays: one that was only inferred, because the server hid it, is corrected.
        """
        info = seen.info
        if info is None:
            return self
        dials = None if seen.dialled else self.dials
        primary = self.role is Role.PRIMARY and info.in_recovery is False
        same = primary and self.started is not None and self.started == info.started
        newer = same and info.timeline is not None and info.timeline > (self.timeline or 0)
        if dials is self.dials and not newer:
            return self
        return replace(self, dials=dials, timeline=info.timeline if newer else self.timeline)

    @property
    def is_sound(self) -> bool:
        """Whether it is up, and nothing speaks against it."""
        steady = self.status is Status.UP and self.steady_since is not None
        return steady and self.failure is None and self.dials is None

    def _completed(self, info: ServerInfo) -> ServerInfo:
        """Add what the server said earlier and may not say now: the right to ask may be missing.

        Else a right that somebody revokes would lift the fence. A PostgreSQL server that accepts
        writes is a primary.
        """
        if self.timeline is None:
            return info
        if info.in_recovery is not None:
            hidden = info.timeline is None
            return replace(info, timeline=self._hidden_timeline(info)) if hidden else info
        standby = True if self.role is Role.STANDBY else None
        return replace(
            info,
            in_recovery=False if info.writable else standby,
            timeline=self.timeline,
            started=self.started,
            pooled=self.pooled,
        )

    def _hidden_timeline(self, info: ServerInfo) -> int | None:
        """Return the timeline of a server that does not say on which it is, as far as it is known.

        A standby that has become primary without a restart was promoted: its timeline is newer.
        """
        assert self.timeline is not None
        was_standby = self.role is Role.STANDBY and self.started == info.started
        return self.timeline + (was_standby and info.in_recovery is False)

    def _answered(self, seen: Observation, info: ServerInfo) -> HostState:
        role = _role(info)
        was = (self.role, self.writable, self.timeline, self.started)
        same = was == (role, info.writable, info.timeline, info.started)
        steady = same and self.status is Status.UP and self.steady_since is not None
        refuses = self.refuses_sessions and not (seen.dialled or seen.new_session)
        steady_since = self.steady_since if steady else seen.answered_at
        return replace(
            self,
            status=Status.UP,
            role=role,
            writable=info.writable,
            timeline=info.timeline,
            system_id=self.system_id if info.system_id is None else info.system_id,
            former_system_id=self._former(info.system_id),
            lag=info.lag,
            started=info.started,
            pooled=info.pooled,
            latency=seen.answered_at - seen.asked_at,
            asked_at=seen.asked_at,
            told_at=seen.asked_at,
            answered_at=seen.asked_at,
            since=self.since if self.status is Status.UP else seen.answered_at,
            down_since=None,
            steady_since=None if refuses else steady_since,
            dials=None if seen.dialled or seen.new_session else self.dials,
            misses=0,
            silent_since=None,
            unanswered_since=None,
            failure=None,
        )

    def _former(self, system_id: int | None) -> int | None:
        kept = system_id is None or self.system_id in (None, system_id)
        return self.former_system_id if kept else self.system_id

    def _dial_failed(self, seen: Observation) -> HostState:
        failure = seen.failure or Failure(FailureKind.OTHER, "no connection")
        was = self.dials or DialTrouble(failure, seen.asked_at, seen.asked_at, 0)
        dials = DialTrouble(failure, was.since, seen.asked_at, was.count + 1)
        return replace(self, dials=dials)

    def _failed(self, seen: Observation) -> HostState:
        failure = seen.failure or Failure(FailureKind.OTHER, "no answer")
        status = _STATUS_BY_FAILURE.get(failure.kind, self.status)
        misses, silent_since = self.misses, self.silent_since
        told_at = self.told_at
        if failure.kind in _SAYS_NOTHING:
            misses += 1
            silent_since = seen.asked_at if silent_since is None else silent_since
            if misses >= MISSES_UNTIL_SILENT:
                status = Status.SILENT
        else:  # an answer of any kind ends a silence
            misses, silent_since = 0, None
            if failure.kind is not FailureKind.UNANSWERED:
                told_at = seen.asked_at
            if failure.kind in _KEEPS_STATUS and status is Status.SILENT:
                status = Status.UP if self.answered_at > float("-inf") else Status.UNKNOWN
            unknown = failure.kind in (FailureKind.UNWILLING, FailureKind.STATEMENT)
            if unknown and status is not Status.UP:
                status = Status.REJECTED
        keeps = failure.kind in _KEEPS_STATUS and failure.kind is not FailureKind.UNANSWERED
        went_down = self.status is Status.UP and status is not Status.UP
        return replace(
            self,
            status=status,
            asked_at=seen.asked_at,
            told_at=told_at,
            since=self.since if status is self.status else seen.answered_at,
            down_since=seen.answered_at if went_down else self.down_since,
            steady_since=self.steady_since if keeps else None,
            misses=misses,
            silent_since=silent_since,
            unanswered_since=self._unanswered_since(seen, failure.kind),
            failure=failure,
        )

    def _unanswered_since(self, seen: Observation, kind: FailureKind) -> float | None:
        if kind in _SAYS_NOTHING:
            return self.unanswered_since
        if kind is not FailureKind.UNANSWERED or seen.served:
            return None
        return seen.asked_at if self.unanswered_since is None else self.unanswered_since


def _role(info: ServerInfo) -> Role:
    if info.in_recovery is None:
        return Role.UNKNOWN
    return Role.STANDBY if info.in_recovery else Role.PRIMARY


def was_replaced(before: HostState, after: HostState) -> bool:
    """Return whether another server answers at the address, while the former one may still live.

    A primary's timeline does not grow, and a server's cluster does not change. Behind a pooler,
    connections belong to no one server.
    """
    if after.pooled or after.status is not Status.UP:
        return False
    if before.system_id != after.system_id:
        return before.system_id is not None
    return (
        before.role is Role.PRIMARY
        and after.role is Role.PRIMARY
        and before.timeline is not None
        and after.timeline is not None
        and before.timeline < after.timeline
    )
