"""The page, whole and in parts, and its security headers. Pure.

Every part is rendered here, for the first view and for the updates. The page's script only replaces
old parts with new ones.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from pgmoor._core.util.durations import duration
from pgmoor.health import Status

from .chart import chart, highest
from .history import SPAN
from .texts import clock, escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgmoor.events import Event
    from pgmoor.health import Health, HostHealth, PoolFigures

    from .history import History, Sample

# Each grade has a sign of its own, for readers who can't tell the colours apart.
SIGNS = {
    "pass": "\N{CHECK MARK}",
    "warn": "!",
    "fail": "\N{MULTIPLICATION SIGN}",
    "none": "?",
}
NOTHING = '<span class="muted" aria-label="none">\N{EN DASH}</span>'
COLUMNS = ("Host", "Role", "State", "Timeline", "Latency", "Lag")


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


STYLE, SCRIPT, FRAME = _file("page.css"), _file("page.js"), Template(_file("page.html"))

COMMON_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# The icon is a data: URL. The page loads nothing else but its stream, from its own origin.
PAGE_HEADERS = {
    **COMMON_HEADERS,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def document(health: Health, history: History, now: float) -> bytes:
    """Return the page as of *now*, a time of the monotonic clock."""
    text = FRAME.substitute(
        parts(health, history, now),
        title=escaped(f"{health.name}: {health.state}"),
        name=escaped(health.name),
        style=STYLE,
        script=SCRIPT,
        at=clock(health.at, health.at),
    )
    return text.encode()


def parts(health: Health, history: History, now: float) -> dict[str, str]:
    """Return the parts that change: elements by their ids, each on one line."""
    return {
        "state": _state(health),
        "hosts": _hosts(health.hosts),
        "pool": _pool(health.pool, history.samples(now), now),
        "events": _events(history.events, health.at),
    }


def _sign(grade: str) -> str:
    return f'<span class="sign {grade}" aria-hidden="true">{SIGNS[grade]}</span>'


def _state(health: Health) -> str:
    """Return the manager's state. Screen readers announce the words, not the passing seconds."""
    why = "" if health.reason == health.state else f": {health.reason}"
    return (
        f'<section id="state" class="{health.status}">{_sign(health.status)}'
        f'<div><p class="verdict" role="status"><strong>{escaped(health.state)}</strong>'
        f' <span class="why">{escaped(health.status + why)}</span></p>'
        f'<p class="muted">for {duration(int(health.since))}</p></div></section>'
    )


def _hosts(hosts: Iterable[HostHealth]) -> str:
    # The styles for phones turn rows into cards, which removes the table's roles; so name them.
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in COLUMNS)
    return (
        '<section id="hosts" aria-labelledby="hosts-title"><h2 id="hosts-title">Hosts</h2>'
        '<table role="table" aria-labelledby="hosts-title">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(map(_host, hosts))}</tbody></table></section>'
    )


def _host(host: HostHealth) -> str:
    up = host.status == Status.UP.value
    badge = ' <span class="badge">in use</span>' if up and host.current else ""
    values = (
        escaped(host.role_label) if up else NOTHING,
        _condition(host),
        str(host.timeline) if up and host.timeline is not None else NOTHING,
        f"{1000 * host.latency:.1f} ms" if up and host.latency is not None else NOTHING,
        f"{host.lag:.1f} s" if up and host.lag is not None else NOTHING,
    )
    cells = "".join(
        f'<td role="cell" data-name="{name}"><div>{value}</div></td>'
        for name, value in zip(COLUMNS[1:], values, strict=True)
    )
    kind = "current" if badge else ""
    name = f'<th scope="row" role="rowheader">{escaped(host.host)}{badge}</th>'
    return f'<tr role="row" class="{kind}">{name}{cells}</tr>'


def _condition(host: HostHealth) -> str:
    words = host.status
    grade = "fail"
    if host.status == Status.UP.value:
        grade = "warn" if host.stale else "pass"
        words += ", behind a pooler" * (host.pooled is True)
    elif host.status == Status.UNKNOWN.value:
        grade = "none"
    failed = host.failure if host.status != Status.UP.value else None
    why = f' <span class="why">({escaped(failed)})</span>' if failed else ""
    return f"{_sign(grade)} {escaped(words)}{why}"


def _pool(pool: PoolFigures, samples: list[Sample], now: float) -> str:
    limit = pool.max_size + pool.max_overflow
    figures = "".join(
        f'<div class="{name}"><dt><i aria-hidden="true"></i>{label}</dt><dd>{value}</dd></div>'
        for name, label, value in (
            ("used", "in use", pool.used),
            ("size", "connected", pool.size),
            ("limit", "maximum", limit),
            ("waiting", "callers waiting", pool.waiting),
        )
    )
    top = highest(samples) if samples else limit
    return (
        '<section id="pool" aria-labelledby="pool-title"><h2 id="pool-title">Pool</h2>'
        f'<dl>{figures}</dl><div class="chart"><div class="scale" aria-hidden="true">'
        f"<span>{top}</span><span>0</span></div>{chart(samples, now)}"
        f'<div class="times" aria-hidden="true"><span>{SPAN // 60} min ago</span>'
        '<span class="key"><i></i>not ready</span><span>now</span></div></div></section>'
    )


def _events(events: Iterable[Event], now: float) -> str:
    items = "".join(
        f"<li>{clock(event.at, now)} <strong>{type(event).__name__}</strong>"
        f" <span>{escaped(event)}</span></li>"
        for event in sorted(events, key=lambda event: event.at, reverse=True)
    )
    listed = f"<ol>{items}</ol>" if items else '<p class="muted">None so far.</p>'
    return (
        '<section id="events" aria-labelledby="events-title">'
        '<h2 id="events-title">Recent events <small>UTC</small></h2>'
        f"{listed}</section>"
    )
