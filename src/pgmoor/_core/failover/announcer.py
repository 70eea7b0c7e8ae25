"""Reports that hosts are left and chosen, and how long that took."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import events as ev
from pgmoor._core.hosts.decision import Reason

if TYPE_CHECKING:
    from pgmoor._core.hosts.decision import Decision
    from pgmoor._core.hosts.host import Host, HostState
    from pgmoor._core.state.live import LiveState


class SwitchAnnouncer:
    """Remembers which host was left, and since when it was in trouble."""

    def __init__(self, live: LiveState) -> None:
        self._live = live
        self._opened_at = 0.0
        self._woken_at: float | None = None  # after it was quiet
        self._left: tuple[Host, str] | None = None  # the host that is being failed over from
        self._trouble_since: float | None = None  # with that host

    def opened(self) -> None:
        """Note that the manager is opened."""
        self._opened_at = monotonic()

    def woken(self, host: Host) -> None:
        """Note that the manager wakes; *host* was in use before it fell quiet."""
        self._woken_at = self._trouble_since = monotonic()
        self._left = (host, "another host was chosen when the manager woke")

    def leaving(self, state: HostState, decision: Decision) -> str:
        """Report that a host is left with no other chosen yet; return why, with its failure."""
        detail = f" ({state.failure})" if state.failure else ""
        reason = decision.reason.value + detail
        self._live.reporter.leaving(state.host, reason)
        self.lost(state.host)
        self._left = (state.host, decision.reason.of(state.host.label, ""))
        self._trouble_since = self._first_sign(state.host)
        return reason

    def lost(self, host: Host) -> None:
        """Tell the instruments that the host in use is given up."""
        noticed = monotonic() - self._first_sign(host)
        for instrument in self._live.instruments:
            instrument.left(host.label, noticed)

    def switched(self, host: Host, before: Host | None, decision: Decision) -> None:
        """Report what a new host means: a connection, a failover, a failback, an outage's end.

        *before* is the host that was in use until now, or None after a search.
        """
        now = monotonic()
        tell = self._live.reporter.tell
        if decision.reason is Reason.PREFERRED and before is not None:
            tell(ev.Failback(before=before.label, after=host.label))
            return
        if self._woken_at is not None:
            tell(ev.Awoke(host=host.label, seconds=now - self._woken_at))
            self._woken_at = None
        began = self._trouble_since if before is None else self._first_sign(before)
        why = "" if before is None else decision.reason.of(before.label, host.label)
        left = self._left if before is None else (before, why)
        if left is None:
            tell(ev.Connected(host=host.label, seconds=now - self._opened_at))
        elif left[0] != host:
            tell(
                ev.Failover(
                    before=left[0].label,
                    after=host.label,
                    reason=left[1],
                    seconds=0.0 if began is None else now - began,
                )
            )
        self._left = None
        if self._live.phase.outage_since is not None:
            lasted = now - self._live.phase.outage_since
            self._live.phase.outage_since = None
            tell(ev.OutageEnded(host=host.label, seconds=lasted))

    def _first_sign(self, host: Host) -> float:
        """Return the first sign of trouble with a host, or else its last answer."""
        state = self._live.evidence.table[host.index]
        doubted = self._live.evidence.suspicion.first_sign(host.index)
        undialled = state.dials.since if state.dials and state.refuses_sessions else None
        signs = [at for at in (state.silent_since, doubted, undialled) if at is not None]
        return min(signs, default=state.asked_at)
