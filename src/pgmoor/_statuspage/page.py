"""The page, whole and in parts, and the headers that fence it in. Pure.

Every part is made here, for the first view and for the updates; the page's script only puts new
parts in the places of old ones.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from pgmoor.health import Status

from .chart import chart, highest
from .history import SPAN
from .texts import clock, duration, sentence, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgmoor.events import Event
    from pgmoor.health import Health, HostHealth, PoolFigures

    from .history import History, Sample

# Colour is never alone: each state has a sign of its own shape.
SIGNS = {
    "pass": "\N{CHECK MARK}",
    "warn": "!",
    "fail": "\N{MULTIPLICATION SIGN}",
    "none": "?",
}
NOTHING = '<span class="quiet" aria-label="none">\N{EN DASH}</span>'
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
# The icon is a data: address. Nothing else is loaded but the stream, from where the page is from.
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
    """Return the page as it is at the instant *now* of the monotonic clock."""
    text = FRAME.substitute(
        parts(health, history, now),
        title=shown(f"{health.name}: {health.state}"),
        name=shown(health.name),
        style=STYLE,
        script=SCRIPT,
        at=clock(health.at, health.at),
    )
    return text.encode()


def parts(health: Health, history: History, now: float) -> dict[str, str]:
    """Return the parts that change, by their ids, each an element in one line."""
    return {
        "state": _state(health),
        "hosts": _hosts(health.hosts),
        "pool": _pool(health.pool, history.samples(now), now),
        "events": _events(history.events, health.at),
    }


def _sign(grade: str) -> str:
    return f'<span class="sign {grade}" aria-hidden="true">{SIGNS[grade]}</span>'


def _state(health: Health) -> str:
    """Return the verdict. Only its words are announced, not the seconds that go by."""
    why = "" if health.reason == health.state else f": {health.reason}"
    return (
        f'<section id="state" class="{health.status}">{_sign(health.status)}'
        f'<div><p class="verdict" role="status"><strong>{shown(health.state)}</strong>'
        f' <span class="why">{shown(health.status + why)}</span></p>'
        f'<p class="quiet">for {duration(health.since)}</p></div></section>'
    )


# -- hosts -----------------------------------------------------------------------------------------


def _hosts(hosts: Iterable[HostHealth]) -> str:
    # Styles that turn rows into cards on a phone take the table's roles away; they are given back.
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
        shown(_role(host)) if up else NOTHING,
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
    name = f'<th scope="row" role="rowheader">{shown(host.host)}{badge}</th>'
    return f'<tr role="row" class="{kind}">{name}{cells}</tr>'


def _role(host: HostHealth) -> str:
    words = [host.role]
    if host.writable is not None:
        words.append("writable" if host.writable else "read-only")
    return ", ".join(words)


def _condition(host: HostHealth) -> str:
    words = [host.status]
    grade = "fail"
    if host.status == Status.UP.value:
        grade = "warn" if host.stale else "pass"
        words += ["stale"] * host.stale + ["behind a pooler"] * (host.pooled is True)
    elif host.status == Status.UNKNOWN.value:
        grade = "none"
    failed = host.failure if host.status != Status.UP.value else None
    why = f' <span class="why">({shown(failed)})</span>' if failed else ""
    return f"{_sign(grade)} {shown(', '.join(words))}{why}"


# -- pool and events -------------------------------------------------------------------------------


def _pool(pool: PoolFigures, samples: list[Sample], now: float) -> str:
    limit = pool.max_size + pool.max_overflow
    figures = "".join(
        f'<div class="{name}"><dt><i aria-hidden="true"></i>{label}</dt><dd>{value}</dd></div>'
        for name, label, value in (
            ("used", "in use", pool.used),
            ("size", "connected", pool.size),
            ("limit", "at most", limit),
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
        f" <span>{shown(sentence(event))}</span></li>"
        for event in sorted(events, key=lambda event: event.at, reverse=True)
    )
    listed = f"<ol>{items}</ol>" if items else '<p class="quiet">None so far.</p>'
    return (
        '<section id="events" aria-labelledby="events-title">'
        '<h2 id="events-title">Last transitions <small>UTC</small></h2>'
        f"{listed}</section>"
    )
