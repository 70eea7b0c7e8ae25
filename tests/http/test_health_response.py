"""The response to a health check: its status code, its headers, and what it reveals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_reports import (
    BUSY,
    CHECKS,
    DEAD,
    FORMATS,
    FULL,
    OUTAGE,
    PRIMARY,
    UNPROBED,
    WARNING,
    WELL,
    checks,
    forms,
    report,
    reports,
    shown,
)
from pgmoor import Health, State
from pgmoor.health import PoolFigures
from pgmoor.http import Check, Format, Response, health_response
from pgmoor.http._negotiation import TYPES


def codes(health: Health, check: Check = "ready") -> set[int]:
    """Return the status codes of all formats."""
    return {health_response(health, format=form, check=check).status_code for form in FORMATS}


def test_readiness_is_200_while_callers_get_connections_and_503_otherwise() -> None:
    serving = {State.READY, State.STALLED, State.QUIET}

    for state in State:
        assert codes(report(state)) == ({200} if state in serving else {503})
    assert BUSY.status == "warn"
    assert codes(BUSY) == {200}


@pytest.mark.parametrize("state", State)
def test_liveness_does_not_depend_on_the_database(state: State) -> None:
    health = report(state, FULL, (replace(PRIMARY, status="down"), DEAD))

    assert codes(health, "live") == {200}
    assert codes(replace(health, live=False), "live") == {503}


@pytest.mark.parametrize("form", FORMATS)
def test_a_liveness_response_says_nothing_about_the_database(form: Format) -> None:
    well, ill = WELL, replace(OUTAGE, pool=FULL)

    public = [health_response(health, format=form, check="live") for health in (well, ill)]
    detailed = health_response(ill, format=form, check="live", details=True).body

    assert public[0] == public[1]
    assert b"db1" not in detailed
    assert b"refused" not in detailed


@pytest.mark.parametrize(
    ("form", "ready", "live"),
    [
        ("health+json", {"status": "warn"}, {"status": "pass"}),
        ("spring", {"status": "UP"}, {"status": "UP"}),
        (
            "microprofile",
            {"status": "UP", "checks": [{"name": "database", "status": "UP"}]},
            {"status": "UP", "checks": [{"name": "manager", "status": "UP"}]},
        ),
        ("text", "warn\n", "pass\n"),
        (
            "json",
            {"status": "warn", "live": True, "ready": True, "state": "ready", "since": 12.346},
            {"live": True},
        ),
    ],
)
def test_without_details_a_response_has_the_status_only(
    form: Format, ready: Any, live: Any
) -> None:
    assert shown(WARNING, form, details=False) == ready
    assert shown(WARNING, form, "live", details=False) == live
    assert health_response(WARNING, format=form) == health_response(
        WARNING, format=form, details=False
    )


@given(reports, forms, checks)
def test_without_details_no_response_depends_on_hosts_figures_names_or_errors(
    health: Health, form: Format, check: Check
) -> None:
    other = replace(
        health, hosts=(UNPROBED,), pool=PoolFigures(), name="", reason="other words", at=0.0
    )

    assert health_response(health, format=form, check=check) == health_response(
        other, format=form, check=check
    )


@given(reports, forms, checks, st.booleans())
def test_the_status_in_the_body_agrees_with_the_status_code(
    health: Health, form: Format, check: Check, details: bool
) -> None:
    response = health_response(health, format=form, check=check, details=details)
    body = shown(health, form, check, details=details)
    if form == "text":
        good = body.startswith(("pass", "warn"))
    elif form == "json":
        good = body[check]
    else:
        good = body["status"] in ("pass", "warn", "UP")

    assert response.status_code == (200 if good else 503)


@pytest.mark.parametrize("form", FORMATS)
def test_a_response_has_the_type_of_its_format_and_is_not_cached(form: Format) -> None:
    for check in CHECKS:
        response = health_response(WELL, format=form, check=check)

        assert isinstance(response, Response)
        assert response[:2] == (200, TYPES[form])
        assert response.headers == {
            "Content-Type": TYPES[form],
            "Cache-Control": "no-store",
            "Vary": "Accept",
        }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "xml"}, r"unknown format 'xml'; use one of health\+json, json"),
        ({"check": "started"}, "unknown check 'started'; use ready or live"),
    ],
)
def test_an_unknown_format_or_check_is_an_error_that_lists_the_known_ones(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        health_response(WELL, **given)
