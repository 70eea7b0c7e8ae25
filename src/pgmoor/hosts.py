"""The hosts and what is known of them; `HostTable.apply()` is the only writer of host state.

Pure: no clock, no I/O. It keeps the newest evidence; which host to use is decided in `policy`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from .health import HostHealth, Role, Status
from .sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Two unanswered probes in a row: one may be a lost packet or a pause of the server.
MISSES_UNTIL_SILENT = 2
MOST_CLUSTERS = 64  # of which the newest timeline is remembered


@dataclass(frozen=True, slots=True)
class Host:
    """One server address. The index is its own for as long as it stands in the list."""

    index: int
    host: str
    port: int
    hostaddr: str | None = None

    @property
    def address(self) -> tuple[str, str | None, int]:
        """What tells one host of a list from another."""
        return self.host, self.hostaddr, self.port

    @property
    def label(self) -> str:
        """How logs, events and errors name the host: `host:port`."""
        name = self.host or self.hostaddr or "local socket"
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server said of itself; None where it can't say."""

    in_recovery: bool | None = None
    writable: bool | None = None
    timeline: int | None = None
    system_id: int | None = None
    lag: float | None = None  # seconds of replay behind the primary, on a standby
    started: str | None = None  # when the server was started: tells one server from another
    pooled: bool | None = None  # a pooler stands before it


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of asking one host once: facts, or a failure."""

    host: int
    asked_at: float  # time.monotonic()
    answered_at: float
    facts: Facts | None = None
    failure: Failure | None = None
    dialled: bool = False  # by a connection for the pool, not by the host's probe


@dataclass(frozen=True, slots=True)
class HostState:
    """All that is known of one host."""

    host: Host
    status: Status = Status.UNKNOWN
    role: Role = Role.UNKNOWN
    writable: bool | None = None
    timeline: int | None = None
    system_id: int | None = None
    lag: float | None = None
    started: str | None = None
    pooled: bool | None = None
    latency: float | None = None  # seconds the newest answer took
    asked_at: float = float("-inf")  # of the newest observation
    heard_at: float = float("-inf")  # of the newest answer: when that one was asked for
    since: float = float("-inf")  # the status has held since
    down_since: float | None = None  # when it stopped being up, if it ever was
    steady_since: float | None = None  # it has answered every time, and the same, since
    misses: int = 0  # unanswered in a row
    silent_since: float | None = None  # when the first of these was asked
    failure: Failure | None = None  # the newest, until an answer clears it


_STATUS_OF_FAILURE: dict[FailureKind, Status] = {
    FailureKind.REFUSED: Status.DOWN,
    FailureKind.RESET: Status.DOWN,
    FailureKind.NAME: Status.DOWN,
    FailureKind.PROTOCOL: Status.DOWN,
    FailureKind.SOURCE: Status.DOWN,  # it may work: nobody can find out
    FailureKind.STARTING: Status.STARTING,
    FailureKind.CREDENTIALS: Status.REJECTED,
    FailureKind.CONFIGURATION: Status.REJECTED,
}
# These say nothing against the host: it answered, and has no room just now.
_KEEPS_STATUS = frozenset({FailureKind.SATURATED, FailureKind.RESOURCES, FailureKind.ROLE})


class Revision(NamedTuple):
    """What has become of a list of hosts."""

    added: tuple[Host, ...]
    gone: tuple[Host, ...]


class HostTable:
    """The states of all hosts, in their order, and the newest timeline seen of each cluster."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._states = {host.index: HostState(host) for host in hosts}  # those in use, and more
        self._order = [host.index for host in hosts]  # of preference
        self._unused = len(self._states)  # the next index
        self._newest: dict[int | None, int] = {}
        self.system_id: int | None = None  # of the cluster that was chosen; see `adopt`
        self.last: int | None = None  # the host that was chosen last

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[HostState]:
        return iter([self._states[index] for index in self._order])

    def __getitem__(self, index: int) -> HostState:
        return self._states[index]

    def is_known(self, index: int) -> bool:
        """Return whether anything is known of a host."""
        return index in self._states

    def is_listed(self, index: int) -> bool:
        """Return whether a host stands in the list, or only did so once."""
        return index in self._order

    def revise(self, hosts: Sequence[Host], keep: Collection[int | None] = ()) -> Revision:
        """Take another list of hosts; what is known of those that stay is kept.

        The indices of *hosts* mean nothing: a new host is given one that was never used. Of hosts
        that are gone only those whose index is in *keep* are remembered.
        """
        known = {state.host.address: state.host for state in self._states.values()}
        before = [self._states[index].host for index in self._order]
        added = []
        order = []
        for host in hosts:
            found = known.get(host.address)
            if found is None:
                found = replace(host, index=self._unused)
                self._unused += 1
                self._states[found.index] = HostState(found)
            if found not in before:
                added.append(found)
            order.append(found.index)
        gone = [host for host in before if host.index not in order]
        self._order = order
        for index in [index for index in self._states if index not in order]:
            if index not in keep:
                del self._states[index]
        return Revision(tuple(added), tuple(gone))

    def _forget_a_cluster(self) -> None:
        """Forget the oldest cluster that no host is known to belong to: one may claim any."""
        known = {state.system_id for state in self._states.values()} | {self.system_id}
        for system_id in self._newest:
            if system_id not in known:
                del self._newest[system_id]
                return

    def adopt(self, index: int) -> None:
        """Remember that the cluster of host *index* is the one in use."""
        self.system_id = self._states[index].system_id or self.system_id
        self.last = index

    def newest_timeline(self, system_id: int | None) -> int:
        """Return the newest timeline on which a server of this cluster was ever seen, or 0.

        A standby's counts, too: it came from a primary on that timeline.
        """
        return self._newest.get(system_id, 0)

    def is_stale(self, state: HostState) -> bool:
        """Return whether the host claims to be primary on a timeline that was left.

        Writes to such a host are lost when it joins the newer primary again.
        """
        return (
            state.role is Role.PRIMARY
            and state.timeline is not None
            and state.timeline < self.newest_timeline(state.system_id)
        )

    def are_rivals(self, one: HostState, other: HostState) -> bool:
        """Return whether two servers claim to be primary on the same timeline.

        Both can't be right: each was promoted without knowledge of the other. One server that
        stands in the list under two addresses is no rival of itself.
        """
        return (
            one.role is Role.PRIMARY
            and other.role is Role.PRIMARY
            and one.timeline is not None
            and (one.system_id, one.timeline) == (other.system_id, other.timeline)
            and one.started != other.started
        )

    def report(self, current: int | None, now: float) -> tuple[HostHealth, ...]:
        """Return every host as a report shows it at *now*; *current* is the one in use."""
        return tuple(
            HostHealth(
                host=state.host.label,
                status=state.status.value,
                role=state.role.value,
                writable=state.writable,
                timeline=state.timeline,
                latency=state.latency,
                lag=state.lag,
                current=state.host.index == current,
                stale=self.is_stale(state),
                failure=state.failure.text if state.failure else None,
                age=None if state.asked_at == float("-inf") else max(now - state.asked_at, 0.0),
                pooled=state.pooled,
                failure_kind=state.failure.kind.value if state.failure else None,
            )
            for state in self
        )

    def judge(self, seen: Observation) -> HostState:
        """Return the state a host would have by this observation alone."""
        before = self._states[seen.host]
        return _answered(before, seen, seen.facts) if seen.facts else _failed(before, seen)

    def is_foreign(self, state: HostState) -> bool:
        """Return whether the host belongs to another cluster than the one in use.

        When no host of the list is left in that cluster, the list has been rebuilt as a whole,
        and nothing in it is foreign.
        """
        if self.system_id is None or state.system_id in (None, self.system_id):
            return False
        return any(other.system_id == self.system_id for other in self)

    def apply(self, seen: Observation) -> tuple[HostState, HostState]:
        """Take in one observation and return the host's state before and after it.

        An observation asked earlier than the newest one changes nothing but the newest timeline:
        a timeline, once seen, is not forgotten.
        """
        before = self._states[seen.host]
        facts = seen.facts
        if facts and facts.timeline is not None:
            newest = max(facts.timeline, self.newest_timeline(facts.system_id))
            self._newest[facts.system_id] = newest
            if len(self._newest) > MOST_CLUSTERS:
                self._forget_a_cluster()
        if seen.asked_at < before.asked_at:
            return before, before
        after = _answered(before, seen, facts) if facts else _failed(before, seen)
        self._states[seen.host] = after
        return before, after


def was_replaced(before: HostState, after: HostState) -> bool:
    """Return whether another server answers at the address, and the former one may still live.

    A primary's timeline does not grow, and a server's cluster does not change. Behind a pooler
    connections belong to no server.
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


def _role(facts: Facts) -> Role:
    if facts.in_recovery is None:
        return Role.UNKNOWN
    return Role.STANDBY if facts.in_recovery else Role.PRIMARY


def _answered(before: HostState, seen: Observation, facts: Facts) -> HostState:
    role = _role(facts)
    was = (before.role, before.writable, before.timeline, before.started)
    same = before.status is Status.UP and was == (
        role,
        facts.writable,
        facts.timeline,
        facts.started,
    )
    return replace(
        before,
        status=Status.UP,
        role=role,
        writable=facts.writable,
        timeline=facts.timeline,
        system_id=facts.system_id if facts.system_id is not None else before.system_id,
        lag=facts.lag,
        started=facts.started,
        pooled=facts.pooled,
        latency=seen.answered_at - seen.asked_at,
        asked_at=seen.asked_at,
        heard_at=seen.asked_at,
        since=before.since if before.status is Status.UP else seen.answered_at,
        down_since=None,
        steady_since=before.steady_since
        if same and before.steady_since is not None
        else seen.answered_at,
        misses=0,
        silent_since=None,
        failure=None,
    )


def _failed(before: HostState, seen: Observation) -> HostState:
    failure = seen.failure or Failure(FailureKind.OTHER, "no answer")
    status = _STATUS_OF_FAILURE.get(failure.kind, before.status)
    misses, silent_since = before.misses, before.silent_since
    if failure.kind in (FailureKind.TIMEOUT, FailureKind.OTHER):
        misses += 1
        silent_since = seen.asked_at if silent_since is None else silent_since
        if misses >= MISSES_UNTIL_SILENT:
            status = Status.SILENT
    elif failure.kind not in _KEEPS_STATUS:
        misses, silent_since = 0, None
    return replace(
        before,
        status=status,
        asked_at=seen.asked_at,
        since=before.since if status is before.status else seen.answered_at,
        down_since=seen.answered_at
        if before.status is Status.UP and status is not Status.UP
        else before.down_since,
        steady_since=before.steady_since if failure.kind in _KEEPS_STATUS else None,
        misses=misses,
        silent_since=silent_since,
        failure=failure,
    )
