"""Queues, attempts and limits: a channel delays neither another one nor the program."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from pgmoor.alerts import _outbox
from pgmoor.alerts._channels import Channel, make_channels
from pgmoor.alerts._kinds import Message
from pgmoor.alerts._outbox import MAX_HUNG_THREADS, Limits, Outbox
from support import until

if TYPE_CHECKING:
    from inboxes import Webhook

SECRET = "Zq9xW7vK2m"


class FakeChannel:
    """A channel with the outcomes of its attempts; None, a success, once they are used up."""

    def __init__(self, *outcomes: str | BaseException | None, label: str = "fake (1)") -> None:
        self.label = label
        self.titles: list[str] = []
        self.at: list[float] = []
        self.open = threading.Event()
        self.open.set()
        self._outcomes = list(outcomes)

    def send(self, message: Message) -> str | None:
        self.titles.append(message.title)
        self.at.append(monotonic())
        self.open.wait(10)
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def message(title: str = "a") -> Message:
    return Message("failure", title, "text")


def senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pgmoor-alerts-send"]


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry after hundredths of a second."""
    monkeypatch.setattr(_outbox, "BACKOFF_BASE", 0.01)
    monkeypatch.setattr(_outbox, "BACKOFF_CAP", 0.05)
    monkeypatch.setattr(_outbox, "CLOSING_BACKOFF_CAP", 0.01)


def channel_of(hook: Webhook) -> Channel:
    (channel,) = make_channels([f"json://127.0.0.1:{hook.port}/{SECRET}"])
    return channel


async def test_each_channel_gets_each_message_in_order() -> None:
    channels = [FakeChannel(), FakeChannel()]
    box = Outbox(channels, Limits())

    for number in range(20):
        box.put(message(str(number)))
    await box.aclose(5)

    assert [channel.titles for channel in channels] == [[str(n) for n in range(20)]] * 2


async def test_a_failed_message_is_retried_in_order_and_logged_once(
    webhook: Webhook, quick_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    webhook.status = 503
    box = Outbox([channel_of(webhook)], Limits())

    box.put(message("first"))
    box.put(message("second"))
    await webhook.count(4)
    webhook.status = 200
    await until(lambda: "works again" in caplog.text)
    await box.aclose(5)

    assert webhook.posts[-2]["title"] == "first"
    assert webhook.posts[-1]["title"] == "second"
    lines = [(record.levelname, record.message) for record in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert lines[0][1].startswith("alert channel json (1) fails, will try again: ")
    assert "503" in lines[0][1]
    assert SECRET not in caplog.text


async def test_pauses_between_attempts_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgmoor._core.util.backoff.full_jitter", lambda value: value)
    monkeypatch.setattr(_outbox, "BACKOFF_BASE", 0.05)
    monkeypatch.setattr(_outbox, "BACKOFF_CAP", 0.2)
    channel = FakeChannel(*["no"] * 4)
    box = Outbox([channel], Limits())

    box.put(message())
    await until(lambda: len(channel.at) == 5)
    await box.aclose(5)

    pauses = [later - earlier for earlier, later in zip(channel.at, channel.at[1:], strict=False)]
    assert all(
        least <= pause < least + 1
        for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.2), strict=True)
    ), pauses


async def test_a_message_not_sent_in_time_is_logged_and_the_next_one_is_sent(
    quick_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    channel = FakeChannel(*["no route"] * 1000)
    box = Outbox([channel], Limits(retry_for=0.2))

    box.put(message("first"))
    await until(lambda: "not sent" in caplog.text)
    channel._outcomes.clear()
    box.put(message("second"))
    await box.aclose(5)

    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["an alert was not sent over fake (1): first (no route)"]
    assert channel.titles[-1] == "second"
    assert channel.titles.count("first") > 2


async def test_a_full_queue_drops_the_oldest_message_and_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel = FakeChannel()
    channel.open.clear()
    box = Outbox([channel], Limits(max_queue=3))
    box.put(message("under way"))
    await until(lambda: channel.titles == ["under way"])

    for number in range(5):
        box.put(message(str(number)))
    channel.open.set()
    await box.aclose(5)

    assert channel.titles == ["under way", "2", "3", "4"]
    assert [record.message for record in caplog.records] == [
        f"an alert was not sent over fake (1): {number} (the queue is full)" for number in (0, 1)
    ]


async def test_only_the_type_of_an_exception_is_logged(
    quick_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    channel = FakeChannel(ValueError(SECRET))
    box = Outbox([channel], Limits())

    box.put(message())
    await until(lambda: len(channel.titles) == 2)
    await box.aclose(5)

    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


# -- channels that hang -------------------------------------------------------------------------


async def test_a_channel_that_hangs_delays_neither_another_one_nor_the_event_loop(
    webhook: Webhook,
) -> None:
    webhook.silent.set()
    good = FakeChannel()
    box = Outbox([channel_of(webhook), good], Limits())
    slowest = 0.0

    box.put(message())
    await until(lambda: good.titles == ["a"], timeout=2)
    for _ in range(50):
        began = monotonic()
        await asyncio.sleep(0.002)
        slowest = max(slowest, monotonic() - began)

    assert slowest < 0.5, slowest
    assert asyncio.get_running_loop()._default_executor is None  # type: ignore[attr-defined]
    await box.aclose(0)


async def test_an_attempt_times_out_and_the_number_of_hung_threads_is_limited(
    webhook: Webhook, quick_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pgmoor.alerts")
    before = len(senders())
    webhook.silent.set()
    box = Outbox([channel_of(webhook)], Limits(send_timeout=0.1))

    box.put(message())
    await until(lambda: "earlier attempts still hang" in caplog.text)

    assert "no answer within 0.1 s" in caplog.text
    assert len(senders()) - before == MAX_HUNG_THREADS
    assert len(webhook.posts) == MAX_HUNG_THREADS
    webhook.silent.clear()
    webhook.released.set()
    box.put(message("next"))
    await webhook.count(MAX_HUNG_THREADS + 1)  # attempts resume when the threads have ended
    await box.aclose(5)

    assert webhook.titles[-1] == "next"


async def test_a_message_sent_after_its_timeout_is_not_sent_again(quick_retries: None) -> None:
    channel = FakeChannel()
    channel.open.clear()
    box = Outbox([channel], Limits(send_timeout=0.05))
    box.put(message("late"))
    await until(lambda: len(channel.titles) == MAX_HUNG_THREADS)

    channel.open.set()
    box.put(message("next"))
    await until(lambda: "next" in channel.titles)
    await box.aclose(5)

    assert channel.titles == ["late"] * MAX_HUNG_THREADS + ["next"]


# -- closing ------------------------------------------------------------------------------------


async def test_closing_ends_the_pause_before_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pgmoor._core.util.backoff.full_jitter", lambda value: value)
    monkeypatch.setattr(_outbox, "BACKOFF_BASE", 60.0)
    channel = FakeChannel("no")
    box = Outbox([channel], Limits())
    box.put(message("first"))
    box.put(message("second"))
    await until(lambda: channel.titles == ["first"])
    began = monotonic()

    await box.aclose(5)

    assert channel.titles == ["first", "first", "second"]
    assert monotonic() - began < 2


async def test_closing_ends_in_time_and_logs_what_was_not_sent(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.silent.set()
    good = FakeChannel(label="good (2)")
    box = Outbox([channel_of(webhook), good], Limits())
    box.put(message("first"))
    box.put(message("second"))
    began = monotonic()

    await box.aclose(0.3)

    assert 0.2 < monotonic() - began < 1.5
    assert good.titles == ["first", "second"]
    assert [record.message for record in caplog.records] == [
        f"an alert was not sent over json (1): {title} (the manager was closed)"
        for title in ("first", "second")
    ]


async def test_closing_an_empty_outbox_is_immediate() -> None:
    box = Outbox([FakeChannel()], Limits())
    began = monotonic()

    await box.aclose(5)

    assert monotonic() - began < 0.5


PROGRAM = """
import asyncio, sys
from pgmoor.alerts._channels import make_channels
from pgmoor.alerts._kinds import Message
from pgmoor.alerts._outbox import Limits, Outbox

async def main():
    box = Outbox(make_channels([sys.argv[1]]), Limits())
    box.put(Message("info", "title", "text"))
    await asyncio.sleep(0.3)
    {end}

asyncio.run(main())
print("the end", flush=True)
"""


@pytest.mark.parametrize("end", ["await box.aclose(0.1)", "pass"], ids=["closed", "not closed"])
def test_a_channel_that_hangs_does_not_keep_the_interpreter_running(
    webhook: Webhook, end: str
) -> None:
    webhook.silent.set()
    url = f"json://127.0.0.1:{webhook.port}/{SECRET}"

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(end=end), url],
        check=False,
        capture_output=True,
        text=True,
        timeout=10,
    )

    assert (done.returncode, done.stdout) == (0, "the end\n")
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(webhook.posts) == 1
