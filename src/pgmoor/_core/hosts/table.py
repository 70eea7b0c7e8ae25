"""The states of all hosts; `HostTable.apply()` is the only writer of host state. Pure.

It keeps the newest evidence. Which host to use is decided in `decision`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pgmoor.health import HostHealth, Role, Status

from .host import HostState
from .repeats import repeated, repeats
from .timelines import Timelines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .host import Host, Observation
    from .timelines import Sighting
REBUILT_AFTER = 10.0  # seconds without the other hosts of a cluster, one of which was rebuilt


class Revision(NamedTuple):
    """What a new list of hosts has changed."""

    added: tuple[Host, ...]
    gone: tuple[Host, ...]


class HostTable:
    """The states of all hosts, in their order, and the newest timeline seen of each cluster."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._states = {
            host.index: HostState(host) for host in hosts
        }  # of listed hosts and of others in use
        self._order = [host.index for host in hosts]  # indices of the listed hosts, by preference
        self._unused = len(self._states)  # the next index to give
        self._timelines = Timelines()
        self.system_id: int | None = None  # of the cluster in use; see `adopt()`
        self.last: int | None = None  # the host that was chosen last

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[HostState]:
        # A report may be asked for in another thread, while the list changes.
        found = [self._states.get(index) for index in self._order]
        return iter([state for state in found if state is not None])

    def __getitem__(self, index: int) -> HostState:
        return self._states[index]

    def is_known(self, index: int) -> bool:
        """Return whether anything is known of a host."""
        return index in self._states

    def is_listed(self, index: int) -> bool:
        """Return whether a host is in the list; one in use may have left it."""
        return index in self._order

    def revise(self, hosts: Sequence[Host], keep: Collection[int | None] = ()) -> Revision:
        """Replace the list of hosts; what is known of those that stay is kept.

        The indices of *hosts* mean nothing: a new host gets one that was never used. Of hosts that
        are gone, only those whose index is in *keep* are remembered.
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

    def adopt(self, index: int) -> bool:
        """Remember that host *index* and its cluster are in use; return if another one was."""
        before = self.system_id
        self.system_id = self._states[index].system_id or before
        self.last = index
        return before not in (None, self.system_id)

    def newest_timeline(self, system_id: int | None) -> int:
        """Return the newest timeline on which a server of this cluster was ever seen, or 0.

        A standby's timeline counts, too: it came from a primary on it.
        """
        return self._timelines.newest(system_id)

    def forget_timelines(self) -> None:
        """Forget all timelines but those that hosts are on now."""
        self._timelines.forget(self._states.values())

    def is_stale(self, state: HostState) -> bool:
        """Return whether the host claims to be primary on a superseded timeline.

        Writes to such a host are lost when it rejoins the newer primary. It is not stale when
        everybody who was on the newer timeline has been set back: nobody is on it.
        """
        return self._superseding(state) is not None

    def _superseding(self, state: HostState) -> Sighting | None:
        if state.role is not Role.PRIMARY:
            return None
        return self._timelines.newer_than(state, self._states)

    def are_rivals(self, one: HostState, other: HostState) -> bool:
        """Return whether two servers claim to be primary on the same timeline.

        Each was promoted without knowledge of the other. One server that is listed under two
        addresses is no rival of itself.
        """
        return (
            one.role is Role.PRIMARY
            and other.role is Role.PRIMARY
            and one.timeline is not None
            and (one.system_id, one.timeline) == (other.system_id, other.timeline)
            and one.started != other.started
        )

    def report(self, current: int | None, now: float, epoch: float = 0.0) -> tuple[HostHealth, ...]:
        """Return every host as a report shows it at *now*; *current* is the one in use.

        *epoch* is the same instant in seconds since the epoch, for those that are shown to people.
        """
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
                stale_because=self._superseded_by(state, now, epoch),
            )
            for state in self
        )

    def _superseded_by(self, state: HostState, now: float, epoch: float) -> str | None:
        newer = self._superseding(state)
        return None if newer is None else newer.where(now, epoch)

    def preview(self, seen: Observation) -> HostState:
        """Return the state that a host would have after an observation, without applying it."""
        return self._states[seen.host].after(seen)

    def is_foreign(self, state: HostState) -> bool:
        """Return whether the host belongs to another cluster than the one in use.

        When no listed host belongs to that cluster any more, all of them were rebuilt, and none is
        foreign. One that belonged to it itself is a part of the rebuilt cluster, too, while those
        that still belong to it have been gone for long: they are to follow.
        """
        if self.system_id is None or state.system_id in (None, self.system_id):
            return False
        remaining = [other for other in self if other.system_id == self.system_id]
        rebuilt = state.former_system_id == self.system_id
        return any(not (rebuilt and _is_gone(other, state.answered_at)) for other in remaining)

    def is_sound(self, current: int | None) -> bool:
        """Return whether the host in use is listed, all hosts are well and all others standbys."""
        return current in self._order and all(
            state.is_sound and (state.host.index == current or state.role is Role.STANDBY)
            for state in self
        )

    def repeat(self, index: int, seen: Observation, within: float) -> bool:
        """Record an answer about host *index* that says nothing new; return False for any other.

        *within* is how many seconds ago the host may have been asked before.
        """
        before, info = self._states[index], seen.info
        if info is None or not 0 <= seen.asked_at - before.asked_at <= within:
            return False
        if not repeats(info, before):
            return False
        if info.timeline is not None:
            self._timelines.note(info.system_id, info.timeline, before, seen.asked_at)
        self._states[index] = repeated(before, seen)
        return True

    def apply(self, seen: Observation) -> tuple[HostState, HostState]:
        """Record an observation; return the host's state before and after it.

        One that was asked earlier than the newest changes only what time can't: see `after_late()`.
        And a timeline, once seen, is not forgotten. A late answer counts, unless the host has told
        something since: that a later question waits as well does not make it older.
        """
        before = self._states[seen.host]
        info = seen.info
        if info and info.timeline is not None:
            system_id = before.system_id if info.system_id is None else info.system_id
            self._timelines.note(system_id, info.timeline, before, seen.asked_at)
            known = {state.system_id for state in self._states.values()}
            self._timelines.limit(known | {self.system_id, system_id})
        if seen.asked_at < (before.told_at if info else before.asked_at):
            after = before.after_late(seen)
            self._states[seen.host] = after
            return before, after
        after = before.after(seen)
        self._states[seen.host] = after
        return before, after


def _is_gone(state: HostState, now: float) -> bool:
    """Return whether a host has been away for long."""
    return state.status in (Status.DOWN, Status.SILENT) and now - state.since > REBUILT_AFTER
