"""Events: frozen records of plain values, each of which says itself in one sentence."""

from __future__ import annotations

import json
import pickle
import time
from dataclasses import FrozenInstanceError

import pytest

from event_samples import SENTENCES
from pgmoor import events as events_module
from pgmoor.events import Connected, Event

KINDS = {
    kind
    for kind in vars(events_module).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}


def test_every_event_says_itself_in_one_sentence() -> None:
    assert {event: str(event) for event in SENTENCES} == SENTENCES
    assert {type(event) for event in SENTENCES} == KINDS


def test_every_event_is_a_frozen_record_of_plain_values() -> None:
    for event in SENTENCES:
        kind = type(event)
        shown = json.loads(json.dumps(event.to_dict()))

        assert shown["event"] == kind.__name__
        assert pickle.loads(pickle.dumps(event)) == event
        assert kind.__doc__
        with pytest.raises(FrozenInstanceError):
            event.manager = "other"  # type: ignore[misc]


def test_an_event_has_the_time_and_the_managers_name() -> None:
    before = time.time()

    happened = Connected(manager="orders", host="db1", seconds=0.5)

    assert before <= happened.at <= time.time()
    assert happened.to_dict() == {
        "event": "Connected",
        "manager": "orders",
        "at": happened.at,
        "host": "db1",
        "seconds": 0.5,
    }
