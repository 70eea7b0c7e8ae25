"""How messages read about what lasts, is over, or happens again and again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._phrases import Text, clock, duration, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._kinds import Kind

# One, and several.
OCCURRENCES: Mapping[Kind, tuple[str, str]] = {
    "outage": ("outage", "outages"),
    "gave_up": ("search given up", "searches given up"),
    "stall": ("stall", "stalls"),
    "failover": ("failover", "failovers"),
    "failback": ("failback", "failbacks"),
    "rejected": ("rejection", "rejections"),
    "split_brain": ("split brain", "split brains"),
    "foreign_host": ("foreign host", "foreign hosts"),
    "dial_failed": ("failed dial", "failed dials"),
    "host_down": ("loss of a host", "losses of a host"),
    "pool_saturated": ("exhausted pool", "exhausted pools"),
    "held_too_long": ("connection held too long", "connections held too long"),
}


def still(said: Text, lasted: float) -> Text:
    """Tell again what was told, because it lasts."""
    return Text(f"still after {duration(lasted)}: {said.title}", said.paragraphs)


def recovered(kind: Kind, host: str, since: float, lasted: float) -> Text:
    """Tell that something else than an outage is over."""
    over = {
        "stall": f"{host} answers again",
        "rejected": f"{host} accepts us again",
        "split_brain": f"{host} no longer claims to be primary",
        "host_down": f"{host} can be used again",
    }[kind]
    return text(f"{over}, after {duration(lasted)}", f"{over}. It began at {clock(since)}.")


def ceased(kind: Kind, host: str, last: float) -> Text:
    """Tell that something that is reported each minute was not reported any more."""
    title, none = {
        "rejected": (f"{host} no longer turns us away", f"{host} has turned nobody away"),
        "dial_failed": (f"{host} accepts new connections", f"No dial of {host} has failed"),
        "pool_saturated": ("pool no longer exhausted", "Every caller has got a connection"),
    }[kind]
    return text(title, f"{none} since {clock(last)}.")


def flapping(kind: Kind, count: int, seconds: float, last: str, period: float) -> Text:
    """Tell that something happened so often that it is told in digests from now on."""
    many = f"{count} {OCCURRENCES[kind][1]} in {duration(seconds)}"
    return text(
        many,
        f"{many}. The last one:\n{last}",
        f"From now on they are told together, every {duration(period)}, until there has been none"
        " for so long. One that lasts is told by itself all the same.",
    )


def digest(kind: Kind, lines: Sequence[str], period: float) -> Text:
    """Tell what was folded."""
    within = f"in the last {duration(period)}"
    return text(f"{OCCURRENCES[kind][1]} {within}", "\n".join([f"{within.capitalize()}:", *lines]))


def quiet(kind: Kind, period: float) -> Text:
    """Tell that nothing was folded for a period."""
    none = f"no {OCCURRENCES[kind][0]} for {duration(period)}"
    return text(none, f"There was {none}. The next one is told by itself again.")
