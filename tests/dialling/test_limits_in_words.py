"""A failure that is a timeout names the limit that applied, and shows no secret."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pgmoor._core.dialling.connector import failure_of
from pgmoor._core.hosts.failures import FailureKind
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable


class Place(NamedTuple):
    host: str = "127.0.0.1"
    port: int = 1  # where nobody listens


async def test_a_probe_s_dial_that_was_given_more_time_says_how_much(
    moor: Callable[..., Any],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        place = Place(*deaf.getsockname())
        manager = await moor(
            place, health_timeout=0.1, health_interval=0.05, kwargs={"connect_timeout": 1}
        )

        await until(lambda: manager.snapshot().hosts[0].failure == "no answer within 1 s")


@pytest.mark.parametrize("error", [TimeoutError(), TimeoutError(110, "Connection timed out")])
async def test_a_timeout_without_words_is_given_the_limit(
    moor: Callable[..., Any], error: TimeoutError
) -> None:
    manager = await moor(Place())

    failure = failure_of(error, manager._settings, 3.0)

    assert (failure.kind, failure.text) == (FailureKind.TIMEOUT, "no answer within 3 s")


async def test_the_words_of_a_timeout_are_redacted(moor: Callable[..., Any]) -> None:
    manager = await moor(Place(), kwargs={"password": "hunter2secret"})

    failure = failure_of(TimeoutError("hunter2secret\nand more"), manager._settings, 3.0)

    assert "hunter2secret" not in failure.text
    assert "and more" not in failure.text
