"""Which messages each event leads to. Pure: instants are arguments.

When something is announced, and how often, is decided in `_conditions`; `_messages` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmoor import events as ev
from pgmoor.health import Status

from . import _followups
from ._conditions import EXPIRY, Announced, Condition, Conditions
from ._phrases import host_state, one_line, title_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._kinds import AlertRules, Kind, Message
    from ._messages import Messages
    from ._phrases import Text

LOGIN_FAILURES = frozenset({"credentials", "configuration"})  # of a `DialFailed`
NOT_PROBED = "not probed yet"


class Triage:
    """Takes the events of one manager, and returns the messages to be sent."""

    def __init__(self, rules: AlertRules, messages: Messages, hosts: Iterable[str] = ()) -> None:
        self._rules = rules
        self._messages = messages
        self._conditions = Conditions(rules, messages)
        self._hosts = dict.fromkeys(hosts, NOT_PROBED)
        self._failover: ev.Failover | None = None  # it ends an outage
        self._gave_up: ev.GaveUp | None = None  # during an outage
        self._claims: dict[str, ev.SplitBrain] = {}  # until the host is seen to be no primary
        self._held: list[ev.HeldTooLong] = []
        self._held_due: float | None = None
        self._handlers: dict[type[ev.Event], Callable[[Any, float], None]] = {
            ev.OutageStarted: self._on_outage_started,
            ev.OutageEnded: self._on_outage_ended,
            ev.GaveUp: self._on_gave_up,
            ev.Stalled: self._on_stalled,
            ev.StallEnded: self._on_stall_ended,
            ev.Failover: self._on_failover,
            ev.Failback: self._on_failback,
            ev.FailbackPostponed: self._on_failback_postponed,
            ev.HostDown: self._on_host_down,
            ev.HostUp: self._on_host_up,
            ev.RoleChanged: self._on_role_changed,
            ev.HostsChanged: self._on_hosts_changed,
            ev.SplitBrain: self._on_split_brain,
            ev.ForeignHost: self._on_foreign_host,
            ev.DialFailed: self._on_dial_failed,
            ev.PoolSaturated: self._on_pool_saturated,
            ev.HeldTooLong: self._on_held_too_long,
        }

    def handle(self, event: ev.Event, now: float) -> list[Message]:
        """Take an event that came at the instant *now*; return the messages to be sent at once."""
        self._conditions.epoch_offset = event.at - now
        if handler := self._handlers.get(type(event)):
            handler(event, now)
        return self.tick(now)

    @property
    def due(self) -> float | None:
        """When `tick()` next has something to do; None if no such instant is known."""
        instants = (self._conditions.due, self._held_due)
        return min((instant for instant in instants if instant is not None), default=None)

    def tick(self, now: float) -> list[Message]:
        """Return the messages that are due."""
        if self._held_due is not None and self._held_due <= now:
            self._announce_held(now)
        self._conditions.tick(now)
        return self._conditions.take_messages()

    def close(self, now: float) -> list[Message]:
        """Return the messages to be sent before the manager is closed."""
        if self._held:
            self._announce_held(now)
        outage = self._conditions.get("outage")
        if outage is not None and outage.announced is Announced.ALONE:
            at, lasted = self._conditions.timestamp(now), now - outage.since
            text = self._messages.closed(at, lasted, self._hosts)
            self._conditions.announce_once("closed", "closed", text, now)
        self._conditions.flush(now)
        return self._conditions.take_messages()

    # -- no host ---------------------------------------------------------------------------------

    def _on_outage_started(self, _: ev.OutageStarted, now: float) -> None:
        self._gave_up = self._failover = None
        stall = self._conditions.drop("stall")
        self._begin_outage(now if stall is None else stall.since, now)

    def _begin_outage(self, since: float, now: float) -> None:
        due = max(since + self._rules.after, now)
        summary = f"outage, {title_states(self._hosts)}"
        self._conditions.begin(Condition("outage", "", since, due, summary, self._outage_text))

    def _outage_text(self, lasted: float) -> Text:
        if self._gave_up is not None:
            return self._messages.gave_up(self._gave_up, self._hosts)
        outage = self._conditions.get("outage")
        assert outage is not None
        since = self._conditions.timestamp(outage.since)
        return self._messages.outage(since, lasted, self._hosts)

    def _on_gave_up(self, event: ev.GaveUp, now: float) -> None:
        self._gave_up = event
        if self._conditions.get("outage") is None:
            self._begin_outage(now - event.seconds, now)
        text = self._messages.gave_up(event, self._hosts)
        if self._rules.severities["gave_up"] is not None:
            self._conditions.mark_announced("outage", now)
        self._conditions.announce_once("gave_up", text.title, text, now)

    def _on_outage_ended(self, event: ev.OutageEnded, now: float) -> None:
        failover, self._failover, self._gave_up = self._failover, None, None
        outage = self._conditions.get("outage")
        if outage is None:
            return
        if failover is not None and not self._end_is_announced(outage):
            self._conditions.drop("outage")
            self._announce_failover(failover, now)
            return
        if failover is not None:
            outage.summary += f", failed over to {failover.after}"
            self._conditions.mark_covered(failover.before, now)
        lasted = max(event.seconds, now - outage.since)
        over = self._messages.outage_over(event, lasted, self._hosts, failover)
        self._conditions.end("outage", "", now, over)

    def _end_is_announced(self, outage: Condition) -> bool:
        if outage.announced is Announced.ALONE:
            return self._rules.severities["recovered"] is not None
        return outage.announced is Announced.IN_DIGEST

    def _on_stalled(self, event: ev.Stalled, now: float) -> None:
        def text(lasted: float) -> Text:
            return self._messages.stall(event, lasted)

        due, summary = now + self._rules.after, f"{event.host} did not answer"
        self._conditions.begin(Condition("stall", "", now, due, summary, text))

    def _on_stall_ended(self, event: ev.StallEnded, now: float) -> None:
        stall = self._conditions.get("stall")
        if stall is not None:
            began = self._conditions.timestamp(stall.since)
            over = _followups.recovered("stall", event.host, began, now - stall.since)
            self._conditions.end("stall", "", now, over)

    # -- from host to host -----------------------------------------------------------------------

    def _on_failover(self, event: ev.Failover, now: float) -> None:
        self._conditions.drop("stall")
        if self._conditions.get("outage") is None:
            self._announce_failover(event, now)
        else:
            self._failover = event  # OutageEnded follows; one message reports both

    def _announce_failover(self, event: ev.Failover, now: float) -> None:
        self._conditions.mark_covered(event.before, now)
        text = self._messages.failover(event, self._hosts)
        self._conditions.announce_once("failover", one_line(str(event)), text, now)

    def _on_failback(self, event: ev.Failback, now: float) -> None:
        text = self._messages.failback(event, self._hosts)
        self._conditions.announce_once("failback", one_line(str(event)), text, now)

    def _on_failback_postponed(self, event: ev.FailbackPostponed, now: float) -> None:
        text = self._messages.failback_postponed(event)
        summary = one_line(str(event))
        self._conditions.announce_once("failback_postponed", summary, text, now)

    # -- one host --------------------------------------------------------------------------------

    def _on_host_down(self, event: ev.HostDown, now: float) -> None:
        host, state = event.host, host_state(event.status, event.reason)
        self._hosts[host] = state
        self._conditions.end("split_brain", host, now)
        rejected = event.status == Status.REJECTED.value
        kind: Kind = "rejected" if rejected else "host_down"
        self._conditions.drop("host_down" if rejected else "rejected", host)

        def text(_: float) -> Text:
            if rejected:
                return self._messages.rejected(host, event.at, event.reason)
            return self._messages.host_down(event)

        due = now + self._rules.after
        self._conditions.begin(Condition(kind, host, now, due, f"{host} {state}", text))

    def _on_host_up(self, event: ev.HostUp, now: float) -> None:
        self._hosts[event.host] = event.role
        self._conditions.end("rejected", event.host, now)
        self._conditions.end("host_down", event.host, now)
        self._check_claim(event.host, event.role, now)

    def _on_role_changed(self, event: ev.RoleChanged, now: float) -> None:
        self._hosts[event.host] = event.after
        self._check_claim(event.host, event.after, now)

    def _on_hosts_changed(self, event: ev.HostsChanged, _: float) -> None:
        self._hosts = {host: self._hosts.get(host, NOT_PROBED) for host in event.hosts}
        for host in event.gone:
            self._claims.pop(host, None)
            self._conditions.drop_host(host)

    def _check_claim(self, host: str, role: str, now: float) -> None:
        claim = self._claims.get(host)
        if claim is None:
            return
        if role == "primary":
            self._on_split_brain(claim, now)
        else:
            del self._claims[host]
            self._conditions.end("split_brain", host, now)

    def _on_split_brain(self, event: ev.SplitBrain, now: float) -> None:
        self._claims[event.host] = event
        self._hosts[event.host] = "claims to be primary, not used"

        def text(_: float) -> Text:
            return self._messages.split_brain(event)

        summary = one_line(str(event))
        self._conditions.begin(Condition("split_brain", event.host, now, now, summary, text))

    def _on_foreign_host(self, event: ev.ForeignHost, now: float) -> None:
        self._hosts[event.host] = "belongs to another cluster, not used"
        text = self._messages.foreign_host(event)
        self._conditions.announce_once("foreign_host", one_line(str(event)), text, now)

    def _on_dial_failed(self, event: ev.DialFailed, now: float) -> None:
        host = event.host
        rejected = event.kind in LOGIN_FAILURES
        kind: Kind = "rejected" if rejected else "dial_failed"
        known = self._conditions.get(kind, host)
        if known is not None and known.expires is None:
            return  # the probes have reported it too, and will report its end
        began = self._conditions.timestamp(now if known is None else known.since)

        def text(_: float) -> Text:
            if rejected:
                return self._messages.rejected(host, began, event.reason)
            return self._messages.dial_failed(event, began)

        due, summary = now + self._rules.after, one_line(str(event))
        self._conditions.begin(Condition(kind, host, now, due, summary, text, now + EXPIRY))

    # -- the pool --------------------------------------------------------------------------------

    def _on_pool_saturated(self, event: ev.PoolSaturated, now: float) -> None:
        def text(_: float) -> Text:
            return self._messages.pool_saturated(event)

        summary = one_line(str(event))
        condition = Condition("pool_saturated", "", now, now, summary, text, now + EXPIRY)
        self._conditions.begin(condition)

    def _on_held_too_long(self, event: ev.HeldTooLong, now: float) -> None:
        self._held.append(event)  # leaks come together
        self._held_due = self._held_due or now + self._rules.after

    def _announce_held(self, now: float) -> None:
        held, self._held, self._held_due = self._held, [], None
        tasks = ", ".join(event.task for event in held[:3]) + (", ..." if len(held) > 3 else "")
        self._conditions.announce_once(
            "held_too_long", tasks, self._messages.held_too_long(held), now
        )
