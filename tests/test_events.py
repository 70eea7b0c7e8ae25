"""Events, and the listeners that hear of them without being able to do harm."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import time
from dataclasses import FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import events as events_module
from pgmoor.events import Connected, Event, HostDown, HostUp
from pgmoor.listeners import BACKLOG, EventStream, Listeners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KINDS = [
    kind
    for kind in vars(events_module).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def event(number: int = 0) -> Connected:
    return Connected(host=f"db{number}", seconds=0.5)


def numbers(count: int) -> list[str]:
    return [f"db{number}" for number in range(count)]


class Ear:
    """A callback that keeps what it hears, and tells when it has heard enough."""

    def __init__(self, enough: int = 1) -> None:
        self.heard: list[str] = []
        self.done = asyncio.Event()
        self._enough = enough

    def __call__(self, event: Event) -> None:
        assert isinstance(event, Connected)
        self.heard.append(event.host)
        if len(self.heard) >= self._enough:
            self.done.set()

    async def wait(self) -> None:
        async with asyncio.timeout(2):
            await self.done.wait()


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    made = Listeners()
    yield made
    await made.aclose(0.01)
    assert listener_tasks() == []


def listener_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "pgmoor-listener"]


async def read(stream: EventStream, count: int) -> list[str]:
    """Return the hosts of the next events of a stream."""
    heard = []
    async with asyncio.timeout(5):
        for _ in range(count):
            item = await anext(stream)
            assert isinstance(item, Connected)
            heard.append(item.host)
    return heard


# -- records ------------------------------------------------------------------------------------


def sample(kind: type[Event]) -> Event:
    values: dict[str, Any] = {"str": "x", "float": 0.5, "int": 3, "tuple[str,": ("x", "y")}
    given = {
        item.name: values[str(item.type).partition(" ")[0]]
        for item in fields(kind)
        if item.name not in ("manager", "at")
    }
    return kind(**given)


def test_an_event_is_dated_and_named() -> None:
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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_a_frozen_record_of_plain_values(kind: type[Event]) -> None:
    happened = sample(kind)

    assert json.loads(json.dumps(happened.to_dict()))["event"] == kind.__name__
    assert pickle.loads(pickle.dumps(happened)) == happened
    assert kind.__doc__
    with pytest.raises(FrozenInstanceError):
        happened.manager = "other"  # type: ignore[misc]


# -- callbacks ----------------------------------------------------------------------------------


async def test_every_listener_hears_every_event_in_order(listeners: Listeners) -> None:
    ears = [Ear(50), Ear(50)]
    for ear in ears:
        listeners.subscribe(ear)

    for number in range(50):
        listeners.emit(event(number))

    for ear in ears:
        await ear.wait()
        assert ear.heard == numbers(50)


async def test_a_coroutine_function_is_a_listener_too(listeners: Listeners) -> None:
    ear = Ear(3)

    async def callback(happened: Event) -> None:
        await asyncio.sleep(0)
        ear(happened)

    listeners.subscribe(callback)
    for number in range(3):
        listeners.emit(event(number))

    await ear.wait()
    assert ear.heard == numbers(3)


async def test_emitting_calls_nobody(listeners: Listeners) -> None:
    ear = Ear()
    listeners.subscribe(ear)

    listeners.emit(event())

    assert ear.heard == []
    await ear.wait()


async def test_events_from_before_are_not_heard(listeners: Listeners) -> None:
    listeners.emit(event(0))
    ear = Ear()
    listeners.subscribe(ear)

    listeners.emit(event(1))

    await ear.wait()
    assert ear.heard == ["db1"]


async def test_a_slow_listener_delays_nobody(listeners: Listeners) -> None:
    gate, slow, quick = asyncio.Event(), Ear(20), Ear(20)

    async def callback(happened: Event) -> None:
        await gate.wait()
        slow(happened)

    listeners.subscribe(callback)
    listeners.subscribe(quick)
    for number in range(20):
        listeners.emit(event(number))

    await quick.wait()
    assert slow.heard == []
    gate.set()
    await slow.wait()
    assert slow.heard == numbers(20)


async def test_a_failing_listener_is_logged_and_goes_on(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear(2)

    def callback(happened: Event) -> None:
        ear(happened)
        raise ValueError("the listener's own mistake")

    listeners.subscribe(callback)
    listeners.emit(event(0))
    listeners.emit(event(1))

    await ear.wait()
    await asyncio.sleep(0)
    assert ear.heard == ["db0", "db1"]
    assert [record.getMessage() for record in caplog.records] == [
        "a listener failed on Connected"
    ] * 2


async def test_a_listener_whose_own_work_was_cancelled_goes_on(listeners: Listeners) -> None:
    ear = Ear(2)

    async def callback(happened: Event) -> None:
        ear(happened)
        work = asyncio.ensure_future(asyncio.Event().wait())
        work.cancel()
        await work

    listeners.subscribe(callback)
    listeners.emit(event(0))
    listeners.emit(event(1))

    await ear.wait()
    assert ear.heard == ["db0", "db1"]


async def test_a_listener_that_falls_behind_loses_the_oldest_and_is_named_once(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear(BACKLOG)
    listeners.subscribe(ear)

    for number in range(BACKLOG + 5):
        listeners.emit(event(number))  # without a pause, so that nothing can be delivered

    await ear.wait()
    assert ear.heard == numbers(BACKLOG + 5)[5:]
    assert [record.getMessage() for record in caplog.records] == [
        f"a listener is {BACKLOG} events behind; dropping the oldest"
    ]


async def test_a_subscription_ends_when_it_is_ended(listeners: Listeners) -> None:
    ended, other = Ear(), Ear(2)
    end = listeners.subscribe(ended)
    listeners.subscribe(other)
    listeners.emit(event(0))
    await ended.wait()

    end()
    listeners.emit(event(1))

    await other.wait()
    assert (ended.heard, other.heard) == (["db0"], ["db0", "db1"])


async def test_ending_a_subscription_twice_is_harmless(listeners: Listeners) -> None:
    end = listeners.subscribe(Ear())

    end()
    end()

    listeners.emit(event())


async def test_a_listener_may_subscribe_and_end_others_while_it_listens(
    listeners: Listeners,
) -> None:
    later = Ear()
    ended = Ear()
    end = listeners.subscribe(ended)

    def callback(happened: Event) -> None:
        end()
        listeners.subscribe(later)

    listeners.subscribe(callback)
    listeners.emit(event(0))
    await ended.wait()
    listeners.emit(event(1))

    await later.wait()
    assert (ended.heard, later.heard) == (["db0"], ["db1"])


# -- the end ------------------------------------------------------------------------------------


async def test_at_the_end_what_was_emitted_is_still_delivered() -> None:
    listeners, ear = Listeners(), Ear(3)
    listeners.subscribe(ear)
    for number in range(3):
        listeners.emit(event(number))

    await listeners.aclose(5)

    assert ear.heard == numbers(3)
    assert listener_tasks() == []


async def test_at_the_end_a_hanging_listener_is_stopped_in_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listeners, reached = Listeners(), asyncio.Event()

    async def hang(_: Event) -> None:
        reached.set()
        await asyncio.Event().wait()

    listeners.subscribe(hang)
    listeners.emit(event())
    await reached.wait()
    began = time.monotonic()

    await listeners.aclose(0.05)

    assert time.monotonic() - began < 1
    assert listener_tasks() == []
    assert "a listener did not finish within" in caplog.text


async def test_at_the_end_hanging_listeners_are_stopped_together() -> None:
    listeners = Listeners()

    async def hang(_: Event) -> None:
        await asyncio.Event().wait()

    for _ in range(20):
        listeners.subscribe(hang)
    listeners.emit(event())
    began = time.monotonic()

    await listeners.aclose(0.05)

    assert time.monotonic() - began < 0.5
    assert listener_tasks() == []


async def test_at_the_end_a_hanging_listener_that_was_ended_is_stopped_too() -> None:
    listeners, reached = Listeners(), asyncio.Event()

    async def hang(_: Event) -> None:
        reached.set()
        await asyncio.Event().wait()

    end = listeners.subscribe(hang)
    listeners.emit(event())
    await reached.wait()
    end()

    await listeners.aclose(0.05)

    left = listener_tasks()
    for task in left:
        task.cancel()
    assert left == []


async def test_a_listener_may_close_the_manager_that_it_listens_to() -> None:
    listeners, closed = Listeners(), asyncio.Event()

    async def callback(_: Event) -> None:
        await listeners.aclose(5)
        closed.set()

    listeners.subscribe(callback)
    listeners.emit(event())

    async with asyncio.timeout(1):
        await closed.wait()


async def test_closing_without_listeners_or_twice_is_harmless() -> None:
    listeners = Listeners()

    await listeners.aclose(1)
    await listeners.aclose(1)


# -- streams ------------------------------------------------------------------------------------


async def test_a_stream_hears_every_event_since_it_was_made(listeners: Listeners) -> None:
    listeners.emit(event(0))
    stream = listeners.stream()

    for number in range(1, 4):
        listeners.emit(event(number))

    assert await read(stream, 3) == ["db1", "db2", "db3"]


async def test_two_streams_hear_the_same(listeners: Listeners) -> None:
    streams = [listeners.stream(), listeners.stream()]

    listeners.emit(event(7))

    assert [await read(stream, 1) for stream in streams] == [["db7"], ["db7"]]


async def test_a_stream_waits_for_the_next_event(listeners: Listeners) -> None:
    stream = listeners.stream()
    waiting = asyncio.create_task(read(stream, 1))
    await asyncio.sleep(0)

    listeners.emit(event(7))

    assert await waiting == ["db7"]


@pytest.mark.parametrize("emitted", [0, 3])
async def test_a_stream_ends_with_the_manager_after_what_was_emitted(emitted: int) -> None:
    listeners = Listeners()
    stream = listeners.stream()
    for number in range(emitted):
        listeners.emit(event(number))

    await listeners.aclose(1)

    async with asyncio.timeout(1):
        heard = [item async for item in stream]
    assert len(heard) == emitted


async def test_a_loop_over_a_stream_that_waits_ends_with_the_manager() -> None:
    listeners = Listeners()

    async def listen() -> int:
        return len([item async for item in listeners.stream()])

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    listeners.emit(event())

    await listeners.aclose(1)

    async with asyncio.timeout(1):
        assert await listening == 1


async def test_a_stream_made_after_the_end_is_at_its_end() -> None:
    listeners = Listeners()
    await listeners.aclose(1)

    async with asyncio.timeout(1):
        assert [item async for item in listeners.stream()] == []


async def test_a_stream_that_nobody_reads_keeps_the_newest(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    stream = listeners.stream()

    for number in range(BACKLOG + 5):
        listeners.emit(event(number))

    assert stream.listener.dropped == 5
    assert (await read(stream, 1)) == ["db5"]
    assert len(caplog.records) == 1


async def test_a_stream_that_nobody_holds_is_forgotten(listeners: Listeners) -> None:
    listeners.stream()
    gc.collect()

    for number in range(BACKLOG + 1):
        listeners.emit(event(number))

    assert list(listeners._streams) == []


@pytest.mark.parametrize("make", [lambda: HostUp(host="a", role="primary"), event])
async def test_emitting_never_raises(
    listeners: Listeners, make: Callable[[], Event], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    reached = asyncio.Event()

    def callback(_: Event) -> None:
        reached.set()
        raise RuntimeError

    listeners.subscribe(callback)

    listeners.emit(make())
    listeners.emit(HostDown(host="a", status="down", reason="refused"))

    await reached.wait()
