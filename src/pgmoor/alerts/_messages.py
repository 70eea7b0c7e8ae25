"""How messages about hosts read, and how a message is addressed. Pure.

A title is short enough for a phone's lock screen; a text says what happened, how the hosts are,
what pgmoor is doing, and what a person may do.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from pgmoor.redact import first_line

from ._kinds import Message, Severity
from ._phrases import Plan, Text, clock, date, duration, in_short, listed, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor import events as ev


class Messages:
    """The words of one manager."""

    def __init__(self, name: str, plan: Plan, remind: float | None) -> None:
        self._name = name
        self._plan = plan
        self._source = f"{name}, process {os.getpid()} on {socket.gethostname()}"
        until = "" if remind is None else f", and every {duration(remind)} until then"
        self._promise = f"You are told when it is over{until}."

    def message(self, severity: Severity, said: Text, at: float) -> Message:
        """Return what is sent: with the manager's name first, and who speaks at the end."""
        paragraphs = (*said.paragraphs, f"{self._source}\n{date(at)}")
        title = first_line(f"{self._name}: {said.title}")  # it may hold a task's name
        return Message(severity, title, "\n\n".join(paragraphs))

    # -- no host ---------------------------------------------------------------------------------

    def outage(self, since: float, lasted: float, hosts: Mapping[str, str]) -> Text:
        """Tell that no host qualifies."""
        return text(
            f"database outage, {in_short(hosts)}",
            f"No database host can be used since {clock(since)}, for {duration(lasted)} now."
            f" {self._plan.wanted}".rstrip(),
            listed(hosts),
            f"{self._plan.search} {self._plan.callers}",
            self._promise,
        )

    def gave_up(self, event: ev.GaveUp, hosts: Mapping[str, str]) -> Text:
        """Tell that the search has ended."""
        tries = "1 try" if event.tries == 1 else f"{event.tries} tries"
        return text(
            f"gave up, {in_short(hosts)}",
            f"pgmoor gave up at {clock(event.at)}, after {tries} in {duration(event.seconds)}."
            " It asks no host any more, and callers fail at once.",
            listed(hosts),
            "To do: see to the database, then restart the program, or have it call reconnect().",
        )

    def outage_over(
        self,
        event: ev.OutageEnded,
        lasted: float,
        hosts: Mapping[str, str],
        failover: ev.Failover | None,
    ) -> Text:
        """Tell that a host qualifies again."""
        back = f"database back after {duration(lasted)}"
        told = (
            f"{event.host} serves since {clock(event.at)}."
            f" No database host could be used for {duration(lasted)} before."
        )
        if failover is None:
            return text(f"{back}, {event.host}", told, listed(hosts))
        left = f"Everyone was moved from {failover.before}: {failover.reason}."
        return text(f"{back}, failed over to {event.host}", f"{told} {left}", listed(hosts))

    def closed(self, at: float, lasted: float, hosts: Mapping[str, str]) -> Text:
        """Tell that nobody will hear of the end of the outage."""
        return text(
            "closed during the outage",
            f"The manager was closed at {clock(at)}. No database host could be used for the last"
            f" {duration(lasted)}. Nothing more is told of this outage.",
            listed(hosts),
        )

    # -- from host to host -----------------------------------------------------------------------

    def failover(self, event: ev.Failover, hosts: Mapping[str, str]) -> Text:
        """Tell that everyone was moved."""
        return text(
            f"failed over from {event.before} to {event.after}",
            f"{event.after} serves since {clock(event.at)}, {duration(event.seconds)} after the"
            f" first sign of trouble. {event.before} was left: {event.reason}.",
            listed(hosts),
        )

    def failback(self, event: ev.Failback, hosts: Mapping[str, str]) -> Text:
        """Tell that everyone is moved back."""
        return text(
            f"going back from {event.before} to {event.after}",
            f"{event.after} is preferred, and has been stable. Connections move there from"
            f" {event.before} as they come back; no query is ended.",
            listed(hosts),
        )

    # -- one host --------------------------------------------------------------------------------

    def stall(self, host: str, since: float, lasted: float) -> Text:
        """Tell that the only host does not answer."""
        limit = duration(self._plan.stall_timeout)
        return text(
            f"{host} does not answer",
            f"{host} does not answer since {clock(since)}, for {duration(lasted)} now."
            " There is no other host to go to.",
            f"Its queries are kept waiting. After {limit} without an answer pgmoor ends them"
            " and searches for a host.",
            self._promise,
        )

    def rejected(self, host: str, since: float, reason: str) -> Text:
        """Tell that a host turns us away."""
        return text(
            f"{host} turns us away",
            f"{host} turns pgmoor away since {clock(since)}: {reason}.",
            "To do: check user, password, certificates, the database's name and pg_hba.conf."
            " pgmoor goes on asking, slowly.",
            self._promise,
        )

    def split_brain(self, event: ev.SplitBrain) -> Text:
        """Tell that two hosts claim to be primary."""
        same = event.timeline == event.newest_timeline
        rival = "so does the host in use" if same else f"timeline {event.newest_timeline} is newer"
        return text(
            f"split brain, {event.host} claims to be primary",
            f"{event.host} claims to be primary on timeline {event.timeline}, but {rival}."
            " pgmoor does not use it.",
            "Writes that other programs send to it will be lost.",
            f"To do: stop {event.host}, and make it a standby of the newer primary (pg_rewind)"
            " before it is started again.",
        )

    def foreign_host(self, host: str) -> Text:
        """Tell that a host belongs to another cluster."""
        return text(
            f"{host} belongs to another cluster",
            f"{host} belongs to another database cluster than the host in use."
            " pgmoor does not use it.",
            "To do: correct the list of hosts.",
        )

    def dial_failed(self, host: str, since: float, reason: str) -> Text:
        """Tell that the pool can't grow."""
        return text(
            f"no new connections to {host}",
            f"{host} refuses new connections since {clock(since)}: {reason}.",
            "The connections that are open go on working. pgmoor tries again, with growing delays.",
            self._promise,
        )

    def host_down(self, host: str, since: float, state: str) -> Text:
        """Tell that a host can't be used, be it in use or not."""
        return text(f"{host} {state}", f"{host} can't be used since {clock(since)}: {state}.")

    # -- a test ----------------------------------------------------------------------------------

    def test(self) -> Text:
        """Tell that a channel works."""
        return text(
            "test message",
            "This is a test of pgmoor's alerts. Whoever reads it will be told of outages.",
        )
