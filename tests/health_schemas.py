"""JSON schemas of the formats of health responses.

Written from draft-inadarei-api-health-check-06, from the description of the health endpoint in
Spring Boot's actuator API (version 3), and from appendix B of MicroProfile Health 4.0's protocol.
They are stricter where pgmoor promises more: no unknown keys, no nulls.
"""

from __future__ import annotations

from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$"
_GRADE = {"enum": ["pass", "warn", "fail"]}
_FIGURE = {"type": "integer", "minimum": 0}
# {componentName}:{measurementName}, one of the four measurements that the draft defines
_KEY = "^[a-z]+:(utilization|responseTime|connections|uptime)$"
_CHECK = {
    "type": "object",
    "properties": {
        "componentId": {"type": "string"},
        "componentType": {"enum": ["component", "datastore", "system"]},
        "observedValue": {"type": "number"},
        "observedUnit": {"enum": ["s", "%", "{connection}"]},
        "status": _GRADE,
        "time": {"type": "string", "pattern": _INSTANT},
        "output": {"type": "string", "minLength": 1},
    },
    "patternProperties": {  # "additional user-defined keys MAY be included"
        "^(role|writable|timeline|lag|current|stale|pooled)$": {
            "type": ["string", "boolean", "number"]
        },
        "^(size|used|idle|waiting|min_size|max_size|max_overflow|kept)$": _FIGURE,
    },
    "additionalProperties": False,
    "required": ["componentId", "componentType"],
    "dependentRequired": {"observedValue": ["observedUnit", "time"]},
    # output "SHOULD be omitted for pass"
    "if": {"properties": {"status": {"const": "pass"}}, "required": ["status"]},
    "then": {"not": {"required": ["output"]}},
}
HEALTH_JSON: dict[str, Any] = {
    "$schema": DIALECT,
    "type": "object",
    "properties": {
        "status": _GRADE,
        "serviceId": {"type": "string"},
        "description": {"type": "string"},
        "notes": {"type": "array", "items": {"type": "string"}},
        "output": {"type": "string", "minLength": 1},
        "checks": {
            "type": "object",
            "patternProperties": {_KEY: {"type": "array", "items": _CHECK, "minItems": 1}},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
    "required": ["status"],
    "if": {"properties": {"status": {"const": "pass"}}},
    "then": {"not": {"required": ["output"]}},
}

_SPRING_STATUS = {"enum": ["UP", "DOWN", "OUT_OF_SERVICE", "UNKNOWN"]}
SPRING: dict[str, Any] = {
    "$schema": DIALECT,
    "$defs": {
        "component": {
            "type": "object",
            "properties": {
                "status": _SPRING_STATUS,
                "details": {"type": "object", "minProperties": 1},
                "components": {"$ref": "#/$defs/components"},
            },
            "additionalProperties": False,
            "required": ["status"],
            "not": {"required": ["details", "components"]},  # a leaf or a composite
        },
        "components": {
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/component"},
            "minProperties": 1,
        },
    },
    "$ref": "#/$defs/component",
}

_UP_OR_DOWN = {"enum": ["UP", "DOWN"]}
MICROPROFILE: dict[str, Any] = {
    "$schema": DIALECT,
    "type": "object",
    "properties": {
        "status": _UP_OR_DOWN,
        "checks": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "status": _UP_OR_DOWN,
                    "data": {
                        "type": "object",
                        "patternProperties": {
                            "^[a-zA-Z_0-9]+$": {"type": ["string", "boolean", "number"]}
                        },
                        "additionalProperties": False,
                        "minProperties": 1,
                    },
                },
                "additionalProperties": False,
                "required": ["name", "status"],
            },
        },
    },
    "additionalProperties": False,
    "required": ["status", "checks"],
}
