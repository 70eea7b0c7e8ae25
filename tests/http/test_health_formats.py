"""The bodies of health responses: field by field, and against the formats' schemas."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from health_reports import (
    BUSY,
    CALM,
    CLOSED,
    DEAD,
    OUTAGE,
    PRIMARY,
    WARNING,
    WELL,
    checks,
    report,
    reports,
    shown,
)
from health_schemas import HEALTH_JSON, MICROPROFILE, SPRING
from pgmoor import State
from pgmoor.health import SATURATED

if TYPE_CHECKING:
    from pgmoor import Health
    from pgmoor.http import Check, Format

SCHEMAS: dict[Format, dict[str, Any]] = {
    "health+json": HEALTH_JSON,
    "spring": SPRING,
    "microprofile": MICROPROFILE,
}


def test_health_json_of_a_healthy_manager() -> None:
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
    _, dead, unprobed = body["checks"]["postgresql:responseTime"]

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
    assert unprobed == {
        "componentId": "db3:5432",
        "componentType": "datastore",
        "role": "unknown",
        "current": False,
        "stale": False,
    }


def test_health_json_fails_a_stale_primary_that_answers() -> None:
    stale = replace(PRIMARY, host="db2:5432", current=False, stale=True)
    body = shown(report(hosts=(PRIMARY, stale)), "health+json")

    assert body["status"] == "warn"
    assert body["checks"]["postgresql:responseTime"][1]["status"] == "fail"
    assert body["checks"]["postgresql:responseTime"][1]["output"] == "stale"


def test_health_json_warns_about_a_full_pool() -> None:
    body = shown(BUSY, "health+json")

    assert (body["status"], body["output"]) == ("warn", SATURATED)
    for key in ("pool:utilization", "pool:connections"):
        assert body["checks"][key][0]["status"] == "warn"
        assert body["checks"][key][0]["output"] == SATURATED
    assert body["checks"]["pool:utilization"][0]["observedValue"] == 100
    assert body["checks"]["postgresql:responseTime"][0]["status"] == "pass"


def test_health_json_of_liveness() -> None:
    expected = {
        "status": "pass",
        "serviceId": "orders",
        "description": "the manager's background tasks",
        "notes": ["outage for 12.3 s"],
    }

    assert shown(OUTAGE, "health+json", "live") == expected
    assert shown(CLOSED, "health+json", "live")["status"] == "fail"


def test_spring_tells_a_failed_manager_from_one_that_is_not_in_service() -> None:
    statuses = {
        State.NEW: "OUT_OF_SERVICE",
        State.STARTING: "OUT_OF_SERVICE",
        State.READY: "UP",
        State.STALLED: "UP",
        State.QUIET: "UP",
        State.SEARCHING: "DOWN",
        State.OUTAGE: "DOWN",
        State.GAVE_UP: "DOWN",
        State.CLOSED: "OUT_OF_SERVICE",
    }

    assert {state: shown(report(state), "spring")["status"] for state in State} == statuses


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
                    "host_1": ("db1:5432 is up (primary), in use, timeline 3, answers in 1.2 ms"),
                    "host_2": "db2:5432 is down (Connection refused)",
                    "host_3": "db3:5432 has not answered yet",
                },
            }
        ],
    }


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


def test_text_begins_with_the_status_and_its_reason() -> None:
    standby = replace(PRIMARY, host="db4:5432", role="standby", writable=False, lag=0.26)
    standby = replace(standby, current=False)

    assert shown(report(hosts=(PRIMARY, DEAD, standby)), "text").splitlines() == [
        "warn: db2:5432 is down",
        "orders: ready for 12.3 s",
        "pool: size 4 of 8, used 1, idle 3, waiting 0",
        "db1:5432 is up (primary), in use, timeline 3, answers in 1.2 ms",
        "db2:5432 is down (Connection refused)",
        "db4:5432 is up (standby), timeline 3, answers in 1.2 ms, 0.3 s behind",
    ]
    assert shown(OUTAGE, "text", "live") == "pass\norders: outage for 12.3 s\n"


def test_a_pooler_in_front_of_a_host_is_mentioned() -> None:
    health = report(hosts=(replace(PRIMARY, pooled=True),))

    assert "in use, behind a pooler, timeline 3" in shown(health, "text")
    assert shown(health, "health+json")["checks"]["postgresql:responseTime"][0]["pooled"]


def test_json_is_the_whole_report() -> None:
    assert shown(WARNING, "json") == json.loads(json.dumps(WARNING.to_dict()))
    assert shown(OUTAGE, "json", "live") == {"live": True, "name": "orders"}


@given(reports, st.sampled_from(sorted(SCHEMAS)), checks, st.booleans())
def test_every_response_matches_the_schema_of_its_format(
    health: Health, form: Format, check: Check, details: bool
) -> None:
    schema = SCHEMAS[form]
    Draft202012Validator.check_schema(schema)
    body = shown(health, form, check, details=details)

    errors = [error.message for error in Draft202012Validator(schema).iter_errors(body)]

    assert errors == []


@given(reports)
def test_the_overall_status_is_that_of_its_only_part(health: Health) -> None:
    spring = shown(health, "spring")
    microprofile = shown(health, "microprofile")

    assert {part["status"] for part in spring["components"].values()} == {spring["status"]}
    assert {part["status"] for part in microprofile["checks"]} == {microprofile["status"]}
