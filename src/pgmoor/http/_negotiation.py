"""The format of a health report, from the Accept header of a request (RFC 9110, 12.5.1). Pure."""

from __future__ import annotations

from typing import Literal

Format = Literal["health+json", "json", "text", "spring", "microprofile"]

TYPES: dict[Format, str] = {
    "health+json": "application/health+json",
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "spring": "application/vnd.spring-boot.actuator.v3+json",
    "microprofile": "application/json",  # it has no type of its own, so no header can ask for it
}
# What a header can ask for, the preferred one first.
OFFERED: tuple[Format, ...] = ("health+json", "json", "text", "spring")


def negotiate(accept: str | None) -> Format:
    """Return the format that an Accept header asks for; health+json if it asks for none of these.

    No header is refused (RFC 9110 allows that): an orchestrator would count a 406 as a failed
    check.
    """
    chosen, best = OFFERED[0], (0.0, 0)
    ranges = [_media_range(item) for item in (accept or "").split(",")]
    for offered in OFFERED:
        kind = TYPES[offered].partition(";")[0]
        preference = _preference(kind, ranges)
        if preference[0] and preference > best:
            chosen, best = offered, preference
    return chosen


def _media_range(item: str) -> tuple[str, float]:
    """Return a media range of an Accept header, and its weight from 0 to 1."""
    kind, *parameters = (part.strip().lower() for part in item.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                given = float(value)
            except ValueError:
                continue
            weight = given if 0 <= given <= 1 else weight
    return kind, weight


def _preference(kind: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Return the weight of a media type, and how exactly the header names it, to break ties."""
    names = ("*/*", f"{kind.partition('/')[0]}/*", kind)
    found = [(names.index(name), weight) for name, weight in ranges if name in names]
    if not found:
        return 0.0, 0
    exactness = max(place for place, _ in found)
    return max(weight for place, weight in found if place == exactness), exactness
