"""The messages about single events and lasting conditions, and how a message is signed. Pure.

A title fits a phone's lock screen, and stays the same for the same trouble, so that channels can
group by it. The text says what happened, in the event's own sentence; then how the hosts are, what
pgmoor does, and what you can do.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from pgmoor._core.util.durations import duration
from pgmoor._core.util.redaction import first_line

from ._kinds import Message, Severity
from ._phrases import (
    Plan,
    Text,
    clause,
    clock,
    date,
    host_states,
    innermost_frame,
    one_line,
    sentence,
    text,
    title_states,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgmoor import events as ev

MAX_HOLDERS = 10  # in one message


class Messages:
    """Writes the messages of one manager."""

    def __init__(self, name: str, plan: Plan, remind: float | None) -> None:
        self._name = name
        self._plan = plan
        self._signature = f"{name}, process {os.getpid()} on {socket.gethostname()}"
        until = "" if remind is None else f", and a reminder every {duration(remind)} until then"
        self._promise = f"You will get a message when it is over{until}."

    def message(self, severity: Severity, said: Text, at: float) -> Message:
        """Return *said* as it is sent: the manager's name first, signature and date last."""
        paragraphs = (*said.paragraphs, f"{self._signature}\n{date(at)}")
        title = first_line(f"{self._name}: {said.title}")  # an error text may hold anything
        return Message(severity, title, "\n\n".join(paragraphs))

    # -- no host ---------------------------------------------------------------------------------

    def outage(self, since: float, lasted: float, hosts: Mapping[str, str]) -> Text:
        """Report that no host qualifies."""
        return text(
            f"database outage, {title_states(hosts)}",
            f"No database host can be used. The outage began at {clock(since)}, {duration(lasted)}"
            f" ago. {self._plan.requirement}".rstrip(),
            host_states(hosts),
            f"{self._plan.search} {self._plan.callers}",
            self._promise,
        )

    def gave_up(self, event: ev.GaveUp, hosts: Mapping[str, str]) -> Text:
        """Report that the manager no longer looks for a host."""
        return text(
            f"gave up, {title_states(hosts)}",
            f"{sentence(event)} pgmoor stopped at {clock(event.at)}: it probes no host, and callers"
            " fail at once.",
            host_states(hosts),
            "To do: repair the database, then restart the program or have it call reconnect().",
        )

    def outage_over(
        self,
        event: ev.OutageEnded,
        lasted: float,
        hosts: Mapping[str, str],
        failover: ev.Failover | None,
    ) -> Text:
        """Report that a host qualifies again, and the failover that led to it, if any."""
        title = f"database back after {duration(lasted)}"
        back = (
            f"{event.host} has been in use since {clock(event.at)}. Before that, no database host"
            f" could be used for {duration(lasted)}."
        )
        if failover is None:
            return text(f"{title}, {event.host}", back, host_states(hosts))
        title = f"{title}, failed over to {event.host}"
        return text(title, f"{back} {sentence(failover)}", host_states(hosts))

    def closed(self, at: float, lasted: float, hosts: Mapping[str, str]) -> Text:
        """Report that the manager was closed during an outage, and will not report its end."""
        return text(
            "closed during the outage",
            f"The manager was closed at {clock(at)}, {duration(lasted)} after the outage began."
            " It sends no more messages about this outage.",
            host_states(hosts),
        )

    # -- from host to host -----------------------------------------------------------------------

    def failover(self, event: ev.Failover, hosts: Mapping[str, str]) -> Text:
        """Report that all callers were moved to another host."""
        return text(
            f"failed over to {event.after}",
            f"{sentence(event)} All callers have used {event.after} since {clock(event.at)}.",
            host_states(hosts),
        )

    def failback(self, event: ev.Failback, hosts: Mapping[str, str]) -> Text:
        """Report that callers move back to the preferred host."""
        return text(
            f"failing back to {event.after}",
            f"{sentence(event)} Each connection moves when it is returned; no query is cut.",
            host_states(hosts),
        )

    def failback_postponed(self, event: ev.FailbackPostponed) -> Text:
        """Report that a preferred host takes too few connections."""
        return text(
            f"failback to {event.host} postponed",
            sentence(event),
            "Callers stay with the host in use; the connections that were made are closed.",
            f"To do: give {event.host} more connection slots (max_connections, the role's or the"
            " database's limit), or lower min_size.",
        )

    # -- one host --------------------------------------------------------------------------------

    def stall(self, event: ev.Stalled, lasted: float) -> Text:
        """Report that the only usable host does not answer."""
        limit = duration(self._plan.stall_timeout)
        return text(
            f"{event.host} does not answer",
            f"{sentence(event)} The stall began at {clock(event.at)}, {duration(lasted)} ago.",
            f"Its queries wait. After {limit} without an answer pgmoor aborts them and looks for"
            " another host.",
            self._promise,
        )

    def rejected(self, host: str, since: float, reason: str) -> Text:
        """Report that a host rejects our login."""
        return text(
            f"{host} rejects our login",
            f"{host} has rejected our login since {clock(since)}: {one_line(reason)}.",
            "pgmoor keeps trying, one login every few seconds.",
            "To do: check the user, the password, the certificates, the database name and"
            " pg_hba.conf.",
            self._promise,
        )

    def split_brain(self, event: ev.SplitBrain) -> Text:
        """Report that a second host claims to be primary."""
        return text(
            f"split brain on {event.host}",
            sentence(event),
            f"Whatever other programs write to {event.host} will be lost.",
            f"To do: stop {event.host}, and make it a standby of the other primary (pg_rewind)"
            " before you start it again. If instead the newer primary is gone for good, have the"
            " program call reconnect(forget_timelines=True).",
        )

    def foreign_host(self, event: ev.ForeignHost) -> Text:
        """Report that a host belongs to another cluster."""
        return text(
            f"{event.host} belongs to another cluster",
            f"{sentence(event)} pgmoor does not use it.",
        )

    def dial_failed(self, event: ev.DialFailed, since: float) -> Text:
        """Report that the pool can't grow."""
        return text(
            f"no new connections to {event.host}",
            f"{sentence(event)} The first attempt failed at {clock(since)}.",
            "Open connections keep working. pgmoor tries again, with growing pauses.",
            self._promise,
        )

    def host_down(self, event: ev.HostDown) -> Text:
        """Report that a host can't be used, whether or not it is the one in use."""
        return text(
            f"{event.host} can't be used",
            f"{sentence(event)} It has been unusable since {clock(event.at)}.",
        )

    # -- the pool --------------------------------------------------------------------------------

    def pool_saturated(self, event: ev.PoolSaturated) -> Text:
        """Report that callers get no connection although the host works."""
        return text(
            "pool exhausted, callers get no connection",
            sentence(event),
            f"Held longest by {event.holders}." if event.holders else "",
            "To do: look for slow queries and for connections that are never returned. Raise"
            " max_size only if the server can take more connections.",
        )

    def held_too_long(self, events: Sequence[ev.HeldTooLong]) -> Text:
        """Report connections that have not been returned yet."""
        count = len(events)
        lines = [
            f"{clause(event)}: {innermost_frame(event)}".rstrip(": ")
            for event in events[:MAX_HOLDERS]
        ]
        if count > MAX_HOLDERS:
            lines.append(f"and {count - MAX_HOLDERS} more")
        return text(
            "connection held too long" if count == 1 else f"{count} connections held too long",
            "\n".join(lines),
            "To do: look for code that waits for something else while it holds a connection. The"
            " log has the full stack.",
        )

    # -- a test ----------------------------------------------------------------------------------

    def test(self) -> Text:
        """Show that a channel works."""
        return text(
            "test message",
            "This is a test of pgmoor's alerts. Outages will be reported here.",
        )
