"""The messages about what lasts, is over, or happens again and again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor._core.util.durations import duration

from ._phrases import Text, clock, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._kinds import Kind

# Singular and plural.
OCCURRENCES: Mapping[Kind, tuple[str, str]] = {
    "outage": ("outage", "outages"),
    "gave_up": ("search given up", "searches given up"),
    "stall": ("stall", "stalls"),
    "failover": ("failover", "failovers"),
    "failback": ("failback", "failbacks"),
    "failback_postponed": ("postponed failback", "postponed failbacks"),
    "rejected": ("rejected login", "rejected logins"),
    "split_brain": ("split brain", "split brains"),
    "foreign_host": ("foreign host", "foreign hosts"),
    "dial_failed": ("failed connection attempt", "failed connection attempts"),
    "host_down": ("host failure", "host failures"),
    "pool_saturated": ("exhausted pool", "exhausted pools"),
    "held_too_long": ("connection held too long", "connections held too long"),
}


def reminder(said: Text, lasted: float) -> Text:
    """Report again what lasts."""
    return Text(f"still after {duration(lasted)}: {said.title}", said.paragraphs)


def recovered(kind: Kind, host: str, since: float, lasted: float) -> Text:
    """Report that something other than an outage is over."""
    over = {
        "stall": f"{host} answers again",
        "rejected": f"{host} accepts our login again",
        "split_brain": f"{host} no longer claims to be primary",
        "host_down": f"{host} can be used again",
    }[kind]
    return text(
        f"{over}, after {duration(lasted)}",
        f"{over}. The trouble began at {clock(since)} and lasted {duration(lasted)}.",
    )


def ceased(kind: Kind, host: str, last: float) -> Text:
    """Report that an event that repeats each minute while its cause lasts has stopped."""
    title, none = {
        "rejected": (f"{host} no longer rejects our login", f"{host} has rejected no login"),
        "dial_failed": (
            f"{host} accepts new connections again",
            f"No connection attempt to {host} has failed",
        ),
        "pool_saturated": ("pool no longer exhausted", "Every caller has got a connection"),
    }[kind]
    return text(title, f"{none} since {clock(last)}.")


def flapping(kind: Kind, count: int, seconds: float, latest: str, period: float) -> Text:
    """Report that something has happened so often that digests follow."""
    one, several = OCCURRENCES[kind]
    many = f"{count} {several} in {duration(seconds)}"
    return text(
        many,
        f"{many}. The latest:\n{latest}",
        f"From now on you get one summary every {duration(period)}, until there has been no {one}"
        " for that long. One that lasts is still reported on its own.",
    )


def digest(kind: Kind, lines: Sequence[str], period: float) -> Text:
    """Summarise the occurrences of one period."""
    within = f"in the last {duration(period)}"
    return text(f"{OCCURRENCES[kind][1]} {within}", "\n".join([f"{within.capitalize()}:", *lines]))


def quiet(kind: Kind, period: float) -> Text:
    """Report that nothing happened for a period, so that digests end."""
    none = f"no {OCCURRENCES[kind][0]} for {duration(period)}"
    return text(none, f"There was {none}. The next one is reported on its own again.")
