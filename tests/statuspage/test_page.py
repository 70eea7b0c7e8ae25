"""The page: the wording of logs and health reports, hostile texts, and the security headers."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmoor import events as ev
from pgmoor._statuspage.history import History
from pgmoor._statuspage.page import PAGE_HEADERS, SCRIPT, STYLE, document, parts
from pgmoor._statuspage.texts import MAX_LENGTH, escaped
from statuspage.pages import Parsed, health, host

if TYPE_CHECKING:
    from pgmoor.health import HostHealth

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "</style><svg onload=alert(1)>",
    "--><b>",
    "$script ${style} $nothing",
    "&lt;b&gt;",
    "line\nevent: other\ndata: <p id=state>\n\n",
    "\u202edetrevni\u2066",
    "\x00\x1b[31m\ud800",
    "x" * 100_000,
]
KINDS = [kind for kind in vars(ev).values() if isinstance(kind, type) and kind.__base__ is ev.Event]


def make(kind: type[ev.Event], text: str) -> ev.Event:
    """Return an event in which every string is *text*."""
    values: dict[str, Any] = {}
    for item in fields(kind):
        values[item.name] = {
            "str": text,
            "int": 7,
            "float": 1.5,
            "float | None": 1.5,
            "tuple[str, ...]": (text, text),
        }[str(item.type)]
    return kind(**values)


def view(text: str) -> Parsed:
    """Return the page in which every string from outside is *text*."""
    history = History()
    history.events.extend(make(kind, text) for kind in KINDS)
    up = host(text)
    down = host(text, status="down", failure=text, current=False)
    report = health(up, down, reason=text, name=text)
    return Parsed(document(report, history, 0.0).decode())


def test_a_hostile_text_adds_no_element_and_no_attribute() -> None:
    plain = view("plain")
    for text in HOSTILE:
        attacked = view(text)

        assert attacked.tags == plain.tags, text
        assert [name for name, _ in attacked.attributes] == [name for name, _ in plain.attributes]
    assert not any(name.startswith("on") or name == "style" for name, _ in plain.attributes)


@given(st.text(min_size=1))
def test_the_page_has_the_same_elements_for_any_text(text: str) -> None:
    assert view(text).tags == view("plain").tags


@given(st.text())
def test_an_escaped_text_is_short_on_one_line_and_printable(text: str) -> None:
    made = escaped(text)

    assert made.isprintable()
    assert not set("<>\"'") & set(made)
    assert len(Parsed(made).text) <= MAX_LENGTH


def test_every_part_is_one_line_as_server_sent_events_require() -> None:
    history = History()
    history.events.extend(make(kind, "a\nb\r\n\u2028c") for kind in KINDS)

    for text in parts(health(host("a\nb"), reason="a\n\nb"), history, 0.0).values():
        assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("shown_host", "words"),
    [
        (host(), ["primary", "up", "3", "0.4 ms"]),
        (host(role="standby", writable=False, current=False, lag=1.26), ["standby", "1.3 s"]),
        (host(stale=True, current=False), ["stale primary", "up"]),
        (host(pooled=True, role="unknown", writable=True), ["writable", "up, behind a pooler"]),
        (host(status="down", failure="Connection refused"), ["down (Connection refused)"]),
        (host(status="unknown", current=False), ["unknown"]),
    ],
    ids=["primary", "standby", "stale", "pooler", "down", "unknown"],
)
def test_a_host_is_shown_in_the_words_of_the_health_report(
    shown_host: HostHealth, words: list[str]
) -> None:
    text = Parsed(parts(health(shown_host), History(), 0.0)["hosts"]).text

    assert [word for word in words if word not in text] == []
    assert ("in use" in text) == (shown_host.current and shown_host.status == "up")


def test_an_event_is_shown_as_the_sentence_that_the_log_has() -> None:
    history = History()
    history.events.append(ev.DialFailed(host="db1:5432", kind="refused", reason="<refused>"))

    text = Parsed(parts(health(), history, 0.0)["events"]).text

    assert str(history.events[0]) in text


def test_the_newest_event_comes_first() -> None:
    history = History()
    history.events.append(ev.Stalled(host="older", at=1.0))
    history.events.append(ev.Stalled(host="newer", at=2.0))

    text = parts(health(), history, 0.0)["events"]

    assert text.index("newer") < text.index("older")


def test_the_security_policy_allows_the_pages_own_script_and_style_only() -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split(";")
    )
    page = document(health(), History(), 0.0).decode()

    for kind, text in (("script", SCRIPT), ("style", STYLE)):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert inside == text
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in PAGE_HEADERS["Content-Security-Policy"]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = Parsed(document(health(), History(), 0.0).decode())

    links = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert [str(link)[:11] for link in links] == ["data:image/"]
    assert not re.search(r"url\(|@import|https?://", STYLE + SCRIPT)


def test_the_first_view_is_complete_without_the_script() -> None:
    history = History()
    history.add(health(), 0.0)
    history.events.append(ev.Failover(before="db1", after="db2", reason="down", seconds=0.3))

    page = Parsed(document(health(), history, 1.0).decode())

    for words in (
        "orders",
        "ready",
        "pass: connected",
        "db1:5432",
        "primary",
        "in use",
        "for 1 min 15 s",
    ):
        assert words in page.text
    assert "failed over from db1 to db2 in 0.300 s: down" in page.text
    assert "svg" in page.tags
