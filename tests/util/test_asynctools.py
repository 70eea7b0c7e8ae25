"""An answer is fetched once for all who ask at once, and kept for a moment."""

from __future__ import annotations

import asyncio

import pytest

from pgmoor._core.util import asynctools as shared
from pgmoor._core.util.asynctools import SingleFlight


class Source:
    def __init__(self) -> None:
        self.fetched = 0
        self.ready = asyncio.Event()
        self.error: Exception | None = None

    async def fetch(self) -> int:
        self.fetched += 1
        await self.ready.wait()
        if self.error is not None:
            raise self.error
        return self.fetched


async def test_all_who_ask_at_once_share_one_answer() -> None:
    source = Source()
    answer = SingleFlight(source.fetch, "fetch")
    tasks = [asyncio.create_task(answer.get()) for _ in range(5)]
    await asyncio.sleep(0)
    source.ready.set()

    assert await asyncio.gather(*tasks) == [1] * 5
    assert await answer.get() == 1
    assert await answer.get(fresh=True) == 2


async def test_an_answer_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KEPT_FOR", -1.0)
    source = Source()
    source.ready.set()
    answer = SingleFlight(source.fetch, "fetch")

    assert [await answer.get() for _ in range(3)] == [1, 2, 3]


async def test_who_gives_up_leaves_the_work_to_the_next() -> None:
    source = Source()
    answer = SingleFlight(source.fetch, "fetch")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await answer.get()
    source.ready.set()

    assert await answer.get() == 1


async def test_a_failure_is_not_kept() -> None:
    source = Source()
    source.ready.set()
    source.error = OSError("no")
    answer = SingleFlight(source.fetch, "fetch")
    with pytest.raises(OSError, match="no"):
        await answer.get()
    source.error = None

    assert await answer.get() == 2


async def test_a_failure_is_not_kept_for_as_long_as_the_answer_before_it() -> None:
    source = Source()
    source.ready.set()
    answer = SingleFlight(source.fetch, "fetch")
    await answer.get()
    source.error = OSError("no")
    with pytest.raises(OSError, match="no"):
        await answer.get(fresh=True)
    source.error = None

    assert await answer.get() == 3


async def test_a_failure_that_nobody_waited_for_is_not_reported_as_forgotten() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    source = Source()
    source.error = OSError("no")
    answer = SingleFlight(source.fetch, "fetch")
    asker = asyncio.create_task(answer.get())
    await asyncio.sleep(0)
    asker.cancel()
    source.ready.set()
    await asyncio.wait([asker])
    for _ in range(3):
        await asyncio.sleep(0)
    del answer, asker

    assert reported == []


async def test_what_is_under_way_can_be_ended() -> None:
    answer = SingleFlight(Source().fetch, "fetch")
    asker = asyncio.create_task(answer.get())
    await asyncio.sleep(0)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
