"""The page: the words of the other surfaces, hostile texts, and the fence around it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmoor import events as ev
from pgmoor._statuspage.history import History
from pgmoor._statuspage.page import PAGE_HEADERS, SCRIPT, STYLE, document, parts
from pgmoor._statuspage.texts import LONGEST, duration, sentence, shown
from pgmoor.http._health import host_line
from statuspage.pages import Parsed, health, host

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
    """Return an event whose every text is *text*."""
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
    """Return the page when every text in it is *text*."""
    history = History()
    history.events.extend(make(kind, text) for kind in KINDS)
    up = host(text)
    down = host(text, status="down", failure=text, current=False)
    shown_health = health(up, down, reason=text, name=text)
    return Parsed(document(shown_health, history, 0.0).decode())


# -- hostile texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_a_text_and_nothing_else(text: str) -> None:
    plain, attacked = view("plain"), view(text)

    assert attacked.tags == plain.tags
    assert [name for name, _ in attacked.attributes] == [name for name, _ in plain.attributes]
    assert not any(name.startswith("on") or name == "style" for name, _ in attacked.attributes)


@given(st.text(min_size=1))
def test_whatever_a_server_says_the_page_has_the_same_elements(text: str) -> None:
    assert view(text).tags == view("plain").tags


@given(st.text())
def test_a_text_is_short_in_one_line_and_holds_nothing_invisible(text: str) -> None:
    made = shown(text)

    assert made.isprintable()
    assert not set("<>\"'") & set(made)
    assert len(Parsed(made).text) <= LONGEST


def test_every_part_is_one_line_as_an_event_of_the_stream_has_to_be() -> None:
    history = History()
    history.events.extend(make(kind, "a\nb\r\n\u2028c") for kind in KINDS)

    for text in parts(health(host("a\nb"), reason="a\n\nb"), history, 0.0).values():
        assert len(text.splitlines()) == 1


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown_host",
    [
        host(),
        host(role="standby", writable=False, current=False, lag=1.26),
        host(stale=True, current=False),
        host(pooled=True, timeline=None, role="unknown", writable=None, latency=None),
        host(status="down", failure="Connection refused", current=False),
        host(status="silent", failure="no answer within 1 s", current=True),
        host(status="unknown", current=False),
    ],
    ids=lambda item: item.status + "-" + item.role,
)
def test_a_host_is_told_in_the_words_of_the_health_report(shown_host: Any) -> None:
    text = Parsed(parts(health(shown_host), History(), 0.0)["hosts"]).text

    line = host_line(shown_host).removeprefix("db1:5432: ")
    for words in re.split(r", |(?<=\w) \((?=.*\)$)", line.removesuffix(")")):
        # The columns are named: timeline, latency and lag.
        value = re.sub(r"^timeline |^answers in | behind$", "", words)
        assert value in text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_told_in_a_sentence(kind: type[ev.Event]) -> None:
    text = sentence(make(kind, "TEXT"))

    assert "TEXT" in text or "7" in text or "1.5" in text
    assert "{" not in text


def test_the_newest_event_comes_first() -> None:
    history = History()
    history.events.append(ev.Stalled(host="older", at=1.0))
    history.events.append(ev.Stalled(host="newer", at=2.0))

    text = parts(health(), history, 0.0)["events"]

    assert text.index("newer") < text.index("older")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.9, "0 s"), (59.9, "59 s"), (75, "1 min 15 s"), (3700, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_durations_are_told_as_a_person_does(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# -- the fence -------------------------------------------------------------------------------------


def test_the_policy_lets_in_the_pages_own_script_and_style_and_nothing_else() -> None:
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


def test_the_page_names_no_outside_resource() -> None:
    page = Parsed(document(health(), History(), 0.0).decode())

    links = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert [str(link)[:11] for link in links] == ["data:image/"]
    assert not re.search(r"url\(|@import|https?://", STYLE + SCRIPT)


def test_the_first_view_has_everything_without_the_script() -> None:
    history = History()
    history.add(health(), 0.0)
    history.events.append(ev.Failover(before="db1", after="db2", reason="down", seconds=0.3))

    page = Parsed(document(health(), history, 1.0).decode())

    for words in ("orders", "ready", "pass: connected", "db1:5432", "primary, writable", "in use"):
        assert words in page.text
    assert "failed over from db1 to db2 in 0.300 s: down" in page.text
    assert "svg" in page.tags
