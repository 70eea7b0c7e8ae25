"""Texts for the page: made harmless, cut, and events in words. Pure.

Host names, errors and task names come from elsewhere, and a server may be hostile: every text goes
through `shown`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from pgmoor import events as ev

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.events import Event

LONGEST = 400  # characters of a text that are shown
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
UNTOLD = {"event", "manager", "at", "stack"}

# The words of the log lines. What is not here is told by its values.
PHRASES: Mapping[type[Event], str] = {
    ev.HostDown: "{host} is {status}: {reason}",
    ev.RoleChanged: "{host} was {before} and is {after}",
    ev.SplitBrain: (
        "split brain: {host} claims to be primary on timeline {timeline},"
        " the newest is {newest_timeline}; it is not used"
    ),
    ev.ForeignHost: "{host} belongs to another database cluster; remove it from the list",
    ev.Connected: "connected to {host} after {seconds:.2f} s",
    ev.Failover: "failed over from {before} to {after} in {seconds:.3f} s: {reason}",
    ev.Failback: "going back from {before} to the preferred {after}",
    ev.OutageStarted: "no host qualifies: {reason}",
    ev.OutageEnded: "{host} qualifies after {seconds:.2f} s without a host",
    ev.Stalled: "{host} does not answer, and no other host qualifies",
    ev.StallEnded: "{host} answers again after {seconds:.2f} s",
    ev.ReconnectFailed: "no host has qualified for {seconds:.1f} s; still searching",
    ev.GaveUp: "gave up after {tries} tries in {seconds:.1f} s",
    ev.DialFailed: "can't add a connection to {host}: {reason}",
    ev.HeldTooLong: "a connection has been held for {seconds:.1f} s by {task}",
}


def shown(text: object) -> str:
    """Return a text for HTML: escaped, in one line, cut, without what reorders or hides text."""
    given = str(text)
    if len(given) > LONGEST:
        given = given[: LONGEST - 1] + ELLIPSIS
    return escape("".join(char if char.isprintable() else REPLACEMENT for char in given))


def sentence(event: Event) -> str:
    """Return an event in words; not yet fit for HTML."""
    told = event.to_dict()
    if isinstance(event, ev.HostUp):
        again = "" if event.down_for is None else f" again after {event.down_for:.2f} s"
        return f"{event.host} is up{again}: {event.role}"
    if isinstance(event, ev.HostsChanged):
        return f"the list of hosts has changed: {', '.join(event.hosts)}"
    if phrase := PHRASES.get(type(event)):
        return phrase.format(**told)
    return ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in told.items() if key not in UNTOLD
    )


def duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def clock(at: float, now: float) -> str:
    """Return an instant as HTML, in UTC; both in seconds since the epoch."""
    when, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    form = "%H:%M:%S" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S"
    machine = when.isoformat(timespec="milliseconds")
    return f'<time datetime="{machine}">{when.strftime(form)}</time>'
