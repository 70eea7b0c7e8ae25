"""Text and times as HTML. Pure.

Host names, errors and task names come from elsewhere, and a server may be hostile: every text that
the page shows goes through `escaped`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

MAX_LENGTH = 400  # characters shown of one text
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def escaped(text: object) -> str:
    """Return *text* for HTML: escaped, cut, on one line, with each unprintable character replaced.

    Unprintable characters include those that hide or reorder other text.
    """
    given = str(text)
    if len(given) > MAX_LENGTH:
        given = given[: MAX_LENGTH - 1] + ELLIPSIS
    return escape("".join(char if char.isprintable() else REPLACEMENT for char in given))


def clock(at: float, now: float) -> str:
    """Return a time in UTC as HTML, with the date unless it is today's; both are Unix times."""
    when, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    form = "%H:%M:%S" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S"
    machine = when.isoformat(timespec="milliseconds")
    return f'<time datetime="{machine}">{when.strftime(form)}</time>'
