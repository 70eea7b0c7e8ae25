"""Health reports as HTTP answers: field by field, against the formats' schemas, and negotiation."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from health_schemas import HEALTH_JSON, MICROPROFILE, SPRING
from pgmoor import Health, HostHealth, State, Status
from pgmoor._core.manager.snapshot import grade
from pgmoor.health import SATURATED, SERVING, PoolFigures
from pgmoor.http import Check, Format, Response, health_response
from pgmoor.http._health import OUT_OF_SERVICE
from pgmoor.http._negotiation import TYPES, negotiate

FORMATS: tuple[Format, ...] = get_args(Format)
CHECKS: tuple[Check, ...] = get_args(Check)
SCHEMAS: dict[Format, dict[str, Any]] = {
    "health+json": HEALTH_JSON,
    "spring": SPRING,
    "microprofile": MICROPROFILE,
}

CALM = PoolFigures(size=4, used=1, idle=3, waiting=0, min_size=4, max_size=8)
FULL = PoolFigures(size=8, used=8, idle=0, waiting=3, min_size=4, max_size=8)
PRIMARY = HostHealth(
    host="db1:5432",
    status="up",
    role="primary",
    writable=True,
    timeline=3,
    latency=0.0012345,
    lag=None,
    current=True,
    stale=False,
    failure=None,
    age=0.5,
)
DEAD = replace(
    PRIMARY,
    host="db2:5432",
    status="down",
    role="standby",
    writable=False,
    lag=0.25,
    current=False,
    failure="Connection refused",
    age=1.0,
)
UNASKED = HostHealth(
    host="db3:5432",
    status="unknown",
    role="unknown",
    writable=None,
    timeline=None,
    latency=None,
    lag=None,
    current=False,
    stale=False,
    failure=None,
)


def report(
    state: State = State.READY,
    pool: PoolFigures = CALM,
    hosts: tuple[HostHealth, ...] = (PRIMARY,),
    *,
    live: bool = True,
    name: str = "orders",
) -> Health:
    """Return what a manager in that state reports."""
    status, reason = grade(state, pool, hosts)
    return Health(
        live=live,
        ready=state in SERVING,
        status=status,
        state=state.value,
        reason=reason,
        since=12.3456,
        pool=pool,
        hosts=hosts,
        name=name,
        at=1_700_000_000.25,
    )


WELL = report()
WARNING = report(hosts=(PRIMARY, DEAD, UNASKED))
OUTAGE = report(State.OUTAGE, hosts=(replace(PRIMARY, status="down", current=False), DEAD))
BUSY = report(pool=FULL)
CLOSED = report(State.CLOSED, live=False)


def shown(health: Health, form: Format, check: Check = "ready", *, details: bool = True) -> Any:
    """Return the body of an answer, read as its type says."""
    answer = health_response(health, format=form, check=check, details=details)
    text = answer.body.decode()
    return text if form == "text" else json.loads(text)


# -- status codes -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("state", State)
def test_readiness_is_200_while_a_host_is_in_use_and_503_else(state: State, form: Format) -> None:
    expected = 200 if state in (State.READY, State.STALLED) else 503

    assert health_response(report(state), format=form).status_code == expected


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("state", State)
def test_liveness_is_200_whatever_becomes_of_the_database(state: State, form: Format) -> None:
    health = report(state, FULL, (replace(PRIMARY, status="down"), DEAD))

    assert health_response(health, format=form, check="live").status_code == 200
    assert (
        health_response(replace(health, live=False), format=form, check="live").status_code == 503
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_liveness_answer_says_nothing_of_the_database(form: Format) -> None:
    well, ill = WELL, replace(OUTAGE, pool=FULL)
    strangers = [health_response(h, format=form, check="live") for h in (well, ill)]
    friends = [
        health_response(h, format=form, check="live", details=True).body for h in (well, ill)
    ]

    assert strangers[0] == strangers[1]
    for body in friends:
        assert b"db1" not in body
        assert b"refused" not in body


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_pool_is_a_warning_and_no_failure(form: Format) -> None:
    assert BUSY.status == "warn"
    assert health_response(BUSY, format=form).status_code == 200


# -- application/health+json --------------------------------------------------------------------


def test_health_json_when_all_is_well() -> None:
    common = {
        "componentId": "orders",
        "componentType": "component",
        "status": "pass",
        "time": "2023-11-14T22:13:20.250+00:00",
    }

    assert shown(WELL, "health+json") == {
        "status": "pass",
        "serviceId": "orders",
        "description": "connections to PostgreSQL",
        "notes": ["ready for 12.3 s"],
        "checks": {
            "postgresql:responseTime": [
                {
                    "componentId": "db1:5432",
                    "componentType": "datastore",
                    "observedValue": 0.001234,
                    "observedUnit": "s",
                    "status": "pass",
                    "time": "2023-11-14T22:13:19.750+00:00",
                    "role": "primary",
                    "writable": True,
                    "timeline": 3,
                    "current": True,
                    "stale": False,
                }
            ],
            "pool:utilization": [{**common, "observedValue": 12.5, "observedUnit": "%"}],
            "pool:connections": [
                {**common, "observedValue": 4, "observedUnit": "{connection}", **asdict(CALM)}
            ],
        },
    }


def test_health_json_names_the_host_that_is_down_and_why() -> None:
    body = shown(WARNING, "health+json")
    _, dead, unasked = body["checks"]["postgresql:responseTime"]

    assert (body["status"], body["output"]) == ("warn", "db2:5432 is down")
    assert dead == {
        "componentId": "db2:5432",
        "componentType": "datastore",
        "status": "fail",
        "time": "2023-11-14T22:13:19.250+00:00",
        "output": "Connection refused",
        "role": "standby",
        "writable": False,
        "timeline": 3,
        "lag": 0.25,
        "current": False,
        "stale": False,
    }
    assert unasked == {
        "componentId": "db3:5432",
        "componentType": "datastore",
        "role": "unknown",
        "current": False,
        "stale": False,
    }


def test_health_json_of_a_stale_primary_fails_though_it_answers() -> None:
    stale = replace(PRIMARY, host="db2:5432", current=False, stale=True)
    body = shown(report(hosts=(PRIMARY, stale)), "health+json")

    assert body["status"] == "warn"
    assert body["checks"]["postgresql:responseTime"][1]["status"] == "fail"
    assert body["checks"]["postgresql:responseTime"][1]["output"] == "stale"


def test_health_json_of_a_full_pool_warns_where_it_is_full() -> None:
    body = shown(BUSY, "health+json")

    assert (body["status"], body["output"]) == ("warn", SATURATED)
    for key in ("pool:utilization", "pool:connections"):
        assert body["checks"][key][0]["status"] == "warn"
        assert body["checks"][key][0]["output"] == SATURATED
    assert body["checks"]["pool:utilization"][0]["observedValue"] == 100
    assert body["checks"]["postgresql:responseTime"][0]["status"] == "pass"


def test_health_json_in_an_outage_fails() -> None:
    body = shown(OUTAGE, "health+json")

    assert (body["status"], body["output"]) == ("fail", "outage")
    assert [item["status"] for item in body["checks"]["postgresql:responseTime"]] == ["fail"] * 2


def test_health_json_of_liveness() -> None:
    expected = {
        "status": "pass",
        "serviceId": "orders",
        "description": "the tasks that keep connections to PostgreSQL",
        "notes": ["outage for 12.3 s"],
    }

    assert shown(OUTAGE, "health+json", "live") == expected
    assert shown(CLOSED, "health+json", "live")["status"] == "fail"


# -- Spring Boot's actuator ---------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_spring_calls_a_manager_that_is_not_in_service_so_and_a_failed_one_down(
    state: State,
) -> None:
    words = {
        State.NEW: "OUT_OF_SERVICE",
        State.STARTING: "OUT_OF_SERVICE",
        State.READY: "UP",
        State.STALLED: "UP",
        State.SEARCHING: "DOWN",
        State.OUTAGE: "DOWN",
        State.GAVE_UP: "DOWN",
        State.CLOSED: "OUT_OF_SERVICE",
    }
    body = shown(report(state), "spring")

    assert (body["status"], body["components"]["db"]["status"]) == (words[state], words[state])
    assert {state.value for state in State} >= OUT_OF_SERVICE


def test_spring_shows_the_database_as_a_component_with_details() -> None:
    body = shown(WARNING, "spring")
    details = body["components"]["db"]["details"]

    assert list(body) == ["status", "components"]
    assert list(body["components"]) == ["db"]
    assert {key: details[key] for key in ("database", "name", "state", "since", "reason")} == {
        "database": "PostgreSQL",
        "name": "orders",
        "state": "ready",
        "since": 12.346,
        "reason": "db2:5432 is down",
    }
    assert details["pool"] == asdict(CALM)
    assert [host["host"] for host in details["hosts"]] == ["db1:5432", "db2:5432", "db3:5432"]
    assert details["hosts"][2] == {
        "host": "db3:5432",
        "status": "unknown",
        "role": "unknown",
        "current": False,
        "stale": False,
    }


def test_spring_of_liveness() -> None:
    assert shown(OUTAGE, "spring", "live") == {
        "status": "UP",
        "components": {"livenessState": {"status": "UP"}},
    }
    assert shown(CLOSED, "spring", "live") == {
        "status": "DOWN",
        "components": {"livenessState": {"status": "DOWN"}},
    }


# -- MicroProfile Health ------------------------------------------------------------------------


def test_microprofile_is_one_check_with_data_one_level_deep() -> None:
    assert shown(WARNING, "microprofile") == {
        "status": "UP",
        "checks": [
            {
                "name": "database",
                "status": "UP",
                "data": {
                    "name": "orders",
                    "state": "ready",
                    "since": 12.346,
                    "reason": "db2:5432 is down",
                    **{f"pool_{key}": value for key, value in asdict(CALM).items()},
                    "host_1": (
                        "db1:5432: up, primary, writable, in use, timeline 3, answers in 1.2 ms"
                    ),
                    "host_2": "db2:5432: down (Connection refused)",
                    "host_3": "db3:5432: unknown",
                },
            }
        ],
    }


def test_microprofile_without_a_host_is_down() -> None:
    body = shown(OUTAGE, "microprofile")

    assert (body["status"], body["checks"][0]["status"]) == ("DOWN", "DOWN")


def test_microprofile_of_liveness() -> None:
    assert shown(OUTAGE, "microprofile", "live") == {
        "status": "UP",
        "checks": [
            {
                "name": "manager",
                "status": "UP",
                "data": {"name": "orders", "state": "outage", "since": 12.346},
            }
        ],
    }


# -- plain text and plain JSON ------------------------------------------------------------------


def test_text_begins_with_the_status_and_its_reason() -> None:
    standby = replace(PRIMARY, host="db4:5432", role="standby", writable=False, lag=0.26)
    standby = replace(standby, current=False)

    assert shown(report(hosts=(PRIMARY, DEAD, standby)), "text").splitlines() == [
        "warn: db2:5432 is down",
        "orders: ready for 12.3 s",
        "pool: size 4 of 8, used 1, idle 3, waiting 0",
        "host db1:5432: up, primary, writable, in use, timeline 3, answers in 1.2 ms",
        "host db2:5432: down (Connection refused)",
        "host db4:5432: up, standby, read-only, timeline 3, answers in 1.2 ms, 0.3 s behind",
    ]
    assert shown(OUTAGE, "text", "live") == "pass\norders: outage for 12.3 s\n"


def test_a_pooler_before_a_host_is_named() -> None:
    health = report(hosts=(replace(PRIMARY, pooled=True),))

    assert "in use, behind a pooler, timeline 3" in shown(health, "text")
    assert shown(health, "health+json")["checks"]["postgresql:responseTime"][0]["pooled"]


def test_json_is_the_report_as_it_is() -> None:
    assert shown(WARNING, "json") == json.loads(json.dumps(WARNING.to_dict()))
    assert shown(WARNING, "json", details=False) == WARNING.to_dict(details=False)
    assert shown(OUTAGE, "json", "live") == {"live": True, "name": "orders"}


# -- for strangers ------------------------------------------------------------------------------


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
def test_a_stranger_is_told_the_status_only(form: Format, ready: Any, live: Any) -> None:
    assert shown(WARNING, form, details=False) == ready
    assert shown(WARNING, form, "live", details=False) == live
    assert health_response(WARNING, format=form) == health_response(
        WARNING, format=form, details=False
    )


words = st.text(st.characters(), min_size=1, max_size=30)  # with halves of surrogate pairs
figures = st.builds(
    PoolFigures, *(st.integers(0, 100) for _ in range(4)), min_size=st.just(1), max_size=st.just(9)
)
seconds = st.none() | st.floats(0, 1e6)
hosts = st.builds(
    HostHealth,
    host=words,
    status=st.sampled_from([status.value for status in Status]),
    role=st.sampled_from(["primary", "standby", "unknown"]),
    writable=st.none() | st.booleans(),
    timeline=st.none() | st.integers(1, 2**31),
    latency=seconds,
    lag=seconds,
    current=st.booleans(),
    stale=st.booleans(),
    failure=st.none() | words,
    age=st.floats(0, 1e6),
    pooled=st.none() | st.booleans(),
)
reports = st.builds(
    report,
    st.sampled_from(State),
    figures,
    st.lists(st.just(UNASKED) | hosts, min_size=1, max_size=4).map(tuple),
    live=st.booleans(),
    name=words,
)
forms, checks = st.sampled_from(FORMATS), st.sampled_from(CHECKS)
many = settings(max_examples=100, deadline=None)


@many
@given(reports, forms, checks)
def test_no_answer_to_a_stranger_depends_on_hosts_figures_names_or_errors(
    health: Health, form: Format, check: Check
) -> None:
    other = replace(
        health, hosts=(UNASKED,), pool=PoolFigures(), name="", reason="other words", at=0.0
    )

    assert health_response(health, format=form, check=check) == health_response(
        other, format=form, check=check
    )


# -- the formats' own rules ---------------------------------------------------------------------


@many
@given(reports, st.sampled_from(sorted(SCHEMAS)), checks, st.booleans())
def test_every_answer_keeps_to_its_format(
    health: Health, form: Format, check: Check, details: bool
) -> None:
    schema = SCHEMAS[form]
    Draft202012Validator.check_schema(schema)
    body = shown(health, form, check, details=details)

    errors = [error.message for error in Draft202012Validator(schema).iter_errors(body)]

    assert errors == []


@many
@given(reports, forms, checks, st.booleans())
def test_status_in_the_body_and_status_code_agree(
    health: Health, form: Format, check: Check, details: bool
) -> None:
    answer = health_response(health, format=form, check=check, details=details)
    body = shown(health, form, check, details=details)
    if form == "text":
        good = body.startswith(("pass", "warn"))
    elif form == "json":
        good = body[check]
    else:
        good = body["status"] in ("pass", "warn", "UP")

    assert answer.status_code == (200 if good else 503)


@many
@given(reports)
def test_what_is_aggregated_is_what_its_parts_say(health: Health) -> None:
    spring = shown(health, "spring")
    microprofile = shown(health, "microprofile")

    assert {part["status"] for part in spring["components"].values()} == {spring["status"]}
    assert {part["status"] for part in microprofile["checks"]} == {microprofile["status"]}


# -- the answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_has_the_type_of_its_format_and_must_not_be_kept(form: Format) -> None:
    answer = health_response(WELL, format=form)

    assert isinstance(answer, Response)
    assert answer[:2] == (200, TYPES[form])
    assert answer.headers == {
        "Content-Type": TYPES[form],
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }


def test_types_are_those_that_the_formats_name() -> None:
    assert TYPES == {
        "health+json": "application/health+json",
        "json": "application/json",
        "text": "text/plain; charset=utf-8",
        "spring": "application/vnd.spring-boot.actuator.v3+json",
        "microprofile": "application/json",
    }


@pytest.mark.parametrize("given", [{"format": "xml"}, {"check": "started"}])
def test_what_there_is_not_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"there is no (format 'xml'|check 'started'); there are"):
        health_response(WELL, **given)


# -- content negotiation ------------------------------------------------------------------------


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
        ("application/json, text/plain, */*", "json"),  # axios: the exact names come first
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "health+json"),
        ("application/health+json;q=0, application/*", "json"),
        ("text/plain;q=0, text/*;q=0, */*;q=0", "health+json"),
        ("image/png", "health+json"),  # never refused
        ("text/plain;q=much", "text"),
        ("text/plain;q=7", "text"),
        ("text/plain;q=nan", "text"),
        (";;,,q=,", "health+json"),
    ],
)
def test_the_accept_header_chooses(accept: str | None, expected: Format) -> None:
    assert negotiate(accept) == expected
    assert health_response(WELL, accept).content_type == TYPES[expected]


def test_a_format_that_is_named_goes_before_the_header() -> None:
    assert (
        health_response(WELL, "text/plain", format="microprofile").content_type
        == "application/json"
    )


@many
@given(st.text(st.sampled_from("application/json,;q=0.1*/text plain\x00ü"), max_size=60))
def test_no_header_is_too_strange(accept: str) -> None:
    assert negotiate(accept) in FORMATS
