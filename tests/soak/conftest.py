"""The event loop, the seed and the summary of a soak."""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from soak import loops

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = pytest.StashKey[int]()
LOOP = pytest.StashKey[str]()
SUMMARY = pytest.StashKey[list[str]]()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[..., Any]]:
    """Run the soak on the loop that is given, or that its seed chooses."""
    if item.get_closest_marker("soak") is None:
        return {"asyncio": asyncio.new_event_loop}
    name = config.getoption("--soak-loop") or loops.choose(_seed_of(config))
    if name not in loops.available():
        raise pytest.UsageError(f"--soak-loop {name} is not possible here")
    config.stash[LOOP] = name
    return {name: loops.available()[name]}


def _seed_of(config: pytest.Config) -> int:
    given: int | None = config.getoption("--soak-seed")
    value = random.SystemRandom().randrange(10**6) if given is None else given
    return config.stash.setdefault(SEED, value)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The given seed, or a random one; it is printed at the start and at the end."""
    config = request.config
    value, loop = _seed_of(config), config.stash[LOOP]
    options = f"--soak-seed {value} --soak-loop {loop}"
    again = f"pytest -m soak {options} --soak-seconds {config.getoption('--soak-seconds'):g}"
    capture = config.pluginmanager.getplugin("capturemanager")
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
    if lines := config.stash.get(SUMMARY, []):
        terminalreporter.section(f"soak, seed {config.stash[SEED]}, {config.stash[LOOP]}")
        for line in lines:
            terminalreporter.line(line)
