"""The Accept header selects the format of a health response; no header is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_reports import FORMATS, WELL
from pgmoor.http import Format, health_response
from pgmoor.http._negotiation import TYPES, negotiate


def test_each_format_has_the_media_type_that_it_defines() -> None:
    assert TYPES == {
        "health+json": "application/health+json",
        "json": "application/json",
        "text": "text/plain; charset=utf-8",
        "spring": "application/vnd.spring-boot.actuator.v3+json",
        "microprofile": "application/json",
    }


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "health+json"),
        ("", "health+json"),
        ("*/*", "health+json"),  # curl, and the kubelet
        ("application/health+json", "health+json"),
        ("application/json", "json"),
        ("text/plain", "text"),
        ("text/*", "text"),
        ("application/*", "health+json"),
        ("application/vnd.spring-boot.actuator.v3+json", "spring"),
        ("APPLICATION/JSON", "json"),
        ("application/json; charset=utf-8", "json"),
        ("application/json;q=0.5, text/plain;q=0.8", "text"),
        ("application/json;q=0.5,text/plain;q=0.4,*/*;q=0.1", "json"),
        ("application/json, text/plain, */*", "json"),  # axios: exact types beat wildcards
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "health+json"),
        ("application/health+json;q=0, application/*", "json"),
        ("text/plain;q=0, text/*;q=0, */*;q=0", "health+json"),
        ("image/png", "health+json"),  # not refused
        ("text/plain;q=much", "text"),
        ("text/plain;q=7", "text"),
        ("text/plain;q=nan", "text"),
        (";;,,q=,", "health+json"),
    ],
)
def test_the_accept_header_selects_the_format(accept: str | None, expected: Format) -> None:
    assert negotiate(accept) == expected
    assert health_response(WELL, accept).content_type == TYPES[expected]


def test_a_named_format_overrides_the_header() -> None:
    response = health_response(WELL, "text/plain", format="microprofile")

    assert response.content_type == "application/json"


@given(st.text(st.sampled_from("application/json,;q=0.1*/text plain\x00ü"), max_size=60))
def test_any_header_selects_some_format(accept: str) -> None:
    assert negotiate(accept) in FORMATS
