"""The event loop, the seed and the summary of a soak."""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = pytest.StashKey[int]()
SUMMARY = pytest.StashKey[list[str]]()


def pytest_asyncio_loop_factories(config: pytest.Config) -> dict[str, Callable[..., Any]]:
    if config.getoption("--soak-loop") == "uvloop":
        import uvloop

        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The given seed, or a random one; it is printed at the start and at the end."""
    given: int | None = request.config.getoption("--soak-seed")
    value = random.SystemRandom().randrange(10**6) if given is None else given
    request.config.stash[SEED] = value
    seconds = request.config.getoption("--soak-seconds")
    again = f"pytest -m soak --soak-seed {value} --soak-seconds {seconds:g}"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        print(f"\nsoak: seed {value}; again with: {again}", flush=True)  # noqa: T201  for the person who watches
    return value


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are printed at the end."""
    lines: list[str] = []
    request.config.stash[SUMMARY] = lines
    return lines


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if SEED in config.stash:
        terminalreporter.section(f"soak, seed {config.stash[SEED]}")
        for line in config.stash.get(SUMMARY, []):
            terminalreporter.line(line)
