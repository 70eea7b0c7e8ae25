"""What each event means for the messages: events in, messages out. Pure: instants are arguments.

When something is told, and how often, is in `conditions`; how it reads, in `words`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmoor import events as ev

from . import _followups, _words_pool
from ._conditions import FORGOTTEN, Condition, Conditions, Told
from ._phrases import in_short, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._kinds import AlertRules, Kind, Message
    from ._messages import Messages
    from ._phrases import Text

REJECTIONS = frozenset({"credentials", "configuration"})  # kinds of dials that a server turns away


class Triage:
    """The judgement of one manager: hears its events, and says what is to be sent."""

    def __init__(self, rules: AlertRules, words: Messages, hosts: Iterable[str] = ()) -> None:
        self._rules = rules
        self._words = words
        self._conditions = Conditions(rules, words)
        self._hosts = dict.fromkeys(hosts, "not asked yet")
        self._failover: ev.Failover | None = None  # the one by which an outage ends
        self._gave_up: ev.GaveUp | None = None  # during an outage
        self._claims: dict[str, ev.SplitBrain] = {}  # until the host is seen to be demoted
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

    def hear(self, event: ev.Event, now: float) -> list[Message]:
        """Take in an event, at the instant *now*; return what is to be sent at once."""
        self._conditions.skew = event.at - now
        if handler := self._handlers.get(type(event)):
            handler(event, now)
        return self.tick(now)

    @property
    def due(self) -> float | None:
        """The instant at which `tick()` has something to say; None: none is known."""
        instants = (self._conditions.due, self._held_due)
        return min((instant for instant in instants if instant is not None), default=None)

    def tick(self, now: float) -> list[Message]:
        """Return what has fallen due."""
        if self._held_due is not None and self._held_due <= now:
            self._tell_held(now)
        self._conditions.tick(now)
        return self._conditions.take()

    def close(self, now: float) -> list[Message]:
        """Return what is to be sent before the manager is gone."""
        if self._held:
            self._tell_held(now)
        outage = self._conditions.get("outage")
        if outage is not None and outage.told is Told.BY_ITSELF:
            at, lasted = self._conditions.wall(now), now - outage.since
            text = self._words.closed(at, lasted, self._hosts)
            self._conditions.once("closed", "closed", text, now)
        self._conditions.finish(now)
        return self._conditions.take()

    # -- no host ---------------------------------------------------------------------------------

    def _on_outage_started(self, _: ev.OutageStarted, now: float) -> None:
        self._gave_up = self._failover = None
        stall = self._conditions.drop("stall")
        self._begin_outage(now if stall is None else stall.since, now)

    def _begin_outage(self, since: float, now: float) -> None:
        due = max(since + self._rules.after, now)
        what = f"outage, {in_short(self._hosts)}"
        self._conditions.open(Condition("outage", "", since, due, what, self._outage_text))

    def _outage_text(self, lasted: float) -> Text:
        if self._gave_up is not None:
            return self._words.gave_up(self._gave_up, self._hosts)
        outage = self._conditions.get("outage")
        assert outage is not None
        return self._words.outage(self._conditions.wall(outage.since), lasted, self._hosts)

    def _on_gave_up(self, event: ev.GaveUp, now: float) -> None:
        self._gave_up = event
        if self._conditions.get("outage") is None:
            self._begin_outage(now - event.seconds, now)
        text = self._words.gave_up(event, self._hosts)
        if self._rules.severities["gave_up"] is not None:
            self._conditions.told("outage", "", now)
        self._conditions.once("gave_up", f"gave up, {in_short(self._hosts)}", text, now)

    def _on_outage_ended(self, event: ev.OutageEnded, now: float) -> None:
        failover, self._failover, self._gave_up = self._failover, None, None
        outage = self._conditions.get("outage")
        if outage is None:
            return
        recovery = self._rules.severities["recovered"] is not None
        told = outage.told is Told.FOLDED or (outage.told is Told.BY_ITSELF and recovery)
        if failover is not None and not told:
            self._conditions.drop("outage")
            self._tell_failover(failover, now)
            return
        if failover is not None:
            outage.what += f", failed over to {failover.after}"
            self._conditions.include(failover.before, now)
        lasted = max(event.seconds, now - outage.since)
        over = self._words.outage_over(event, lasted, self._hosts, failover)
        self._conditions.close("outage", "", now, over)

    def _on_stalled(self, event: ev.Stalled, now: float) -> None:
        def text(lasted: float) -> Text:
            return self._words.stall(event.host, event.at, lasted)

        what = f"{event.host} did not answer"
        self._conditions.open(Condition("stall", "", now, now + self._rules.after, what, text))

    def _on_stall_ended(self, event: ev.StallEnded, now: float) -> None:
        stall = self._conditions.get("stall")
        if stall is not None:
            began = self._conditions.wall(stall.since)
            over = _followups.recovered("stall", event.host, began, now - stall.since)
            self._conditions.close("stall", "", now, over)

    # -- from host to host -----------------------------------------------------------------------

    def _on_failover(self, event: ev.Failover, now: float) -> None:
        self._conditions.drop("stall")
        if self._conditions.get("outage") is None:
            self._tell_failover(event, now)
        else:
            self._failover = event  # OutageEnded follows, and is told together with it

    def _tell_failover(self, event: ev.Failover, now: float) -> None:
        self._conditions.include(event.before, now)
        text = self._words.failover(event, self._hosts)
        what = f"from {event.before} to {event.after}, {event.reason}"
        self._conditions.once("failover", what, text, now)

    def _on_failback(self, event: ev.Failback, now: float) -> None:
        text = self._words.failback(event, self._hosts)
        self._conditions.once("failback", f"from {event.before} to {event.after}", text, now)

    # -- one host --------------------------------------------------------------------------------

    def _on_host_down(self, event: ev.HostDown, now: float) -> None:
        host, state = event.host, state_of(event.status, event.reason)
        self._hosts[host] = state
        self._conditions.close("split_brain", host, now)
        kind: Kind = "rejected" if event.status == "rejected" else "host_down"
        self._conditions.drop("host_down" if kind == "rejected" else "rejected", host)

        def text(_: float) -> Text:
            if kind == "rejected":
                return self._words.rejected(host, event.at, event.reason)
            return self._words.host_down(host, event.at, state)

        due = now + self._rules.after
        self._conditions.open(Condition(kind, host, now, due, f"{host} {state}", text))

    def _on_host_up(self, event: ev.HostUp, now: float) -> None:
        self._hosts[event.host] = event.role
        self._conditions.close("rejected", event.host, now)
        self._conditions.close("host_down", event.host, now)
        self._judge_claim(event.host, event.role, now)

    def _on_role_changed(self, event: ev.RoleChanged, now: float) -> None:
        self._hosts[event.host] = event.after
        self._judge_claim(event.host, event.after, now)

    def _on_hosts_changed(self, event: ev.HostsChanged, _: float) -> None:
        self._hosts = {host: self._hosts.get(host, "not asked yet") for host in event.hosts}
        for host in event.gone:
            self._claims.pop(host, None)
            self._conditions.forget(host)

    def _judge_claim(self, host: str, role: str, now: float) -> None:
        claim = self._claims.get(host)
        if claim is None:
            return
        if role == "primary":
            self._on_split_brain(claim, now)
        else:
            del self._claims[host]
            self._conditions.close("split_brain", host, now)

    def _on_split_brain(self, event: ev.SplitBrain, now: float) -> None:
        self._claims[event.host] = event
        self._hosts[event.host] = "claims to be primary, is not used"

        def text(_: float) -> Text:
            return self._words.split_brain(event)

        what = f"{event.host} claims to be primary"
        self._conditions.open(Condition("split_brain", event.host, now, now, what, text))

    def _on_foreign_host(self, event: ev.ForeignHost, now: float) -> None:
        self._hosts[event.host] = "belongs to another cluster, is not used"
        text = self._words.foreign_host(event.host)
        self._conditions.once("foreign_host", event.host, text, now)

    def _on_dial_failed(self, event: ev.DialFailed, now: float) -> None:
        host, reason = event.host, " ".join(event.reason.split())
        kind: Kind = "rejected" if event.kind in REJECTIONS else "dial_failed"
        known = self._conditions.get(kind, host)
        if known is not None and known.expires is None:
            return  # its probes say so, too, and will say when it is over
        words = self._words.rejected if kind == "rejected" else self._words.dial_failed
        began = self._conditions.wall(now if known is None else known.since)

        def text(_: float) -> Text:
            return words(host, began, reason)

        condition = Condition(kind, host, now, now + self._rules.after, f"{host}: {reason}", text)
        condition.expires = now + FORGOTTEN
        self._conditions.open(condition)

    # -- the pool --------------------------------------------------------------------------------

    def _on_pool_saturated(self, event: ev.PoolSaturated, now: float) -> None:
        def text(_: float) -> Text:
            return _words_pool.pool_saturated(event)

        what = f"pool exhausted, {event.used} of {event.max_size} in use"
        condition = Condition("pool_saturated", "", now, now, what, text, now + FORGOTTEN)
        self._conditions.open(condition)

    def _on_held_too_long(self, event: ev.HeldTooLong, now: float) -> None:
        self._held.append(event)  # a leak is seldom alone
        self._held_due = self._held_due or now + self._rules.after

    def _tell_held(self, now: float) -> None:
        held, self._held, self._held_due = self._held, [], None
        what = ", ".join(event.task for event in held[:3]) + (", ..." if len(held) > 3 else "")
        self._conditions.once("held_too_long", what, _words_pool.held_too_long(held), now)
