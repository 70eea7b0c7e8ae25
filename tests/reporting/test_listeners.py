"""Callbacks and streams get every event, and none can harm another or the manager."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor._core.reporting.listeners import BACKLOG, EventStream, Listeners
from pgmoor.events import Connected, Event
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def event(number: int = 0) -> Connected:
    return Connected(host=f"db{number}", seconds=0.5)


def numbers(*parts: int) -> list[str]:
    return [f"db{number}" for number in range(*parts)]


class Collector:
    """A callback that keeps the hosts of the events, and can be waited for."""

    def __init__(self, enough: int = 1) -> None:
        self.hosts: list[str] = []
        self.done = asyncio.Event()
        self._enough = enough

    def __call__(self, event: Event) -> None:
        assert isinstance(event, Connected)
        self.hosts.append(event.host)
        if len(self.hosts) >= self._enough:
            self.done.set()

    async def wait(self) -> list[str]:
        async with asyncio.timeout(2):
            await self.done.wait()
        return self.hosts


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    made = Listeners("orders")
    yield made
    await made.aclose(0.01)
    await made.aclose(0.01)  # twice is harmless
    assert listener_tasks() == []


def listener_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "pgmoor-listener"]


async def read(stream: EventStream, count: int) -> list[str]:
    """Return the hosts of the next events of a stream."""
    collected = Collector(count)
    async with asyncio.timeout(5):
        for _ in range(count):
            collected(await anext(stream))
    return collected.hosts


async def hang(_: Event) -> None:
    await asyncio.Event().wait()


# -- callbacks ----------------------------------------------------------------------------------


async def test_every_listener_gets_every_event_since_it_subscribed_in_order(
    listeners: Listeners,
) -> None:
    listeners.emit(event(99))
    plain, by_coroutine = Collector(50), Collector(50)

    async def callback(happened: Event) -> None:
        await asyncio.sleep(0)
        by_coroutine(happened)

    listeners.subscribe(plain)
    listeners.subscribe(callback)
    for number in range(50):
        listeners.emit(event(number))

    assert plain.hosts == []  # emitting calls nobody
    assert await plain.wait() == await by_coroutine.wait() == numbers(50)


async def test_a_slow_listener_delays_no_other(listeners: Listeners) -> None:
    gate, slow, quick = asyncio.Event(), Collector(20), Collector(20)

    async def callback(happened: Event) -> None:
        await gate.wait()
        slow(happened)

    listeners.subscribe(callback)
    listeners.subscribe(quick)
    for number in range(20):
        listeners.emit(event(number))

    await quick.wait()
    assert slow.hosts == []
    gate.set()
    assert await slow.wait() == numbers(20)


@pytest.mark.parametrize("how", ["raises", "awaits something cancelled"])
async def test_a_listener_that_fails_is_logged_and_gets_the_next_event(
    listeners: Listeners, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    collected = Collector(2)

    async def callback(happened: Event) -> None:
        collected(happened)
        if how == "raises":
            raise ValueError("the listener's own mistake")
        work = asyncio.ensure_future(asyncio.Event().wait())
        work.cancel()
        await work

    listeners.subscribe(callback)
    listeners.emit(event(0))
    listeners.emit(event(1))

    assert await collected.wait() == ["db0", "db1"]
    await until(lambda: len(caplog.records) == 2)
    listener = f"the listener {callback.__qualname__} of 'orders'"
    logged = {
        "raises": f"{listener} failed on Connected",
        "awaits something cancelled": f"work of {listener} on Connected was cancelled",
    }
    assert [record.getMessage() for record in caplog.records] == [logged[how]] * 2


async def test_a_listener_that_falls_behind_loses_the_oldest_events_and_is_logged_once(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    collected = Collector(BACKLOG)
    listeners.subscribe(collected)

    for number in range(BACKLOG + 5):
        listeners.emit(event(number))  # without a pause, so that nothing can be delivered

    assert await collected.wait() == numbers(5, BACKLOG + 5)
    assert [record.getMessage() for record in caplog.records] == [
        f"the listener of 'orders' is {BACKLOG} events behind; dropping the oldest"
    ]


async def test_a_subscription_can_be_ended_more_than_once(listeners: Listeners) -> None:
    ended, other = Collector(), Collector(2)
    end = listeners.subscribe(ended)
    listeners.subscribe(other)
    listeners.emit(event(0))
    await ended.wait()

    end()
    end()
    listeners.emit(event(1))

    assert (ended.hosts, await other.wait()) == (["db0"], ["db0", "db1"])


async def test_a_listener_may_subscribe_and_end_others_while_it_is_called(
    listeners: Listeners,
) -> None:
    later, ended = Collector(), Collector()
    end = listeners.subscribe(ended)

    def callback(happened: Event) -> None:
        end()
        listeners.subscribe(later)

    listeners.subscribe(callback)
    listeners.emit(event(0))
    await ended.wait()
    listeners.emit(event(1))

    assert (await later.wait(), ended.hosts) == (["db1"], ["db0"])


# -- the end ------------------------------------------------------------------------------------


async def test_at_the_end_the_remaining_events_are_delivered(listeners: Listeners) -> None:
    collected = Collector(3)
    listeners.subscribe(collected)
    for number in range(3):
        listeners.emit(event(number))

    await listeners.aclose(5)

    assert collected.hosts == numbers(3)


async def test_at_the_end_listeners_that_hang_are_stopped_together(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        listeners.subscribe(hang)
    end = listeners.subscribe(hang)
    listeners.emit(event())
    await asyncio.sleep(0)
    end()  # one whose subscription was ended is stopped, too
    began = time.monotonic()

    await listeners.aclose(0.05)

    assert time.monotonic() - began < 1
    assert listener_tasks() == []
    assert caplog.text.count("of 'orders' did not finish within") == 21


async def test_a_listener_may_close_the_listeners(listeners: Listeners) -> None:
    closed = asyncio.Event()

    async def callback(_: Event) -> None:
        await listeners.aclose(5)
        closed.set()

    listeners.subscribe(callback)
    listeners.emit(event())

    async with asyncio.timeout(1):
        await closed.wait()


# -- streams ------------------------------------------------------------------------------------


async def test_every_stream_gets_the_events_since_it_was_made(listeners: Listeners) -> None:
    listeners.emit(event(0))
    streams = [listeners.stream(), listeners.stream()]
    waiting = asyncio.create_task(read(streams[0], 3))
    await asyncio.sleep(0)

    for number in range(1, 4):
        listeners.emit(event(number))

    assert await waiting == await read(streams[1], 3) == numbers(1, 4)


@pytest.mark.parametrize("emitted", [0, 3])
async def test_a_stream_ends_after_the_last_event_when_the_manager_is_closed(
    listeners: Listeners, emitted: int
) -> None:
    stream = listeners.stream()

    async def count(events: EventStream) -> int:
        return len([item async for item in events])

    waiting = asyncio.create_task(count(listeners.stream()))
    await asyncio.sleep(0)
    for number in range(emitted):
        listeners.emit(event(number))

    await listeners.aclose(1)

    async with asyncio.timeout(1):
        assert [await waiting, await count(stream)] == [emitted, emitted]
        assert await count(listeners.stream()) == 0  # one that is made later ends at once


async def test_a_stream_that_is_not_read_keeps_the_newest_events(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    stream = listeners.stream()

    for number in range(BACKLOG + 5):
        listeners.emit(event(number))

    assert stream.listener.dropped == 5
    assert await read(stream, 1) == ["db5"]
    assert len(caplog.records) == 1


async def test_a_stream_without_references_is_forgotten(listeners: Listeners) -> None:
    listeners.stream()
    gc.collect()

    assert list(listeners._streams) == []
