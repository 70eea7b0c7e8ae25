"""Runs a command's work, and turns what ends it into a line and an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from pgmoor import ConfigError
from pgmoor.testing import ClusterError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; report what ends it early in one line and as an exit status.

    SIGINT and SIGTERM cancel the work, so that it cleans up and leaves no server behind.
    """
    received: list[signal.Signals] = []

    async def cancellable() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def cancel(number: signal.Signals) -> None:
            received.append(number)
            task.cancel()

        # asyncio.run() handles SIGINT only if it was not inherited as ignored, and a shell script
        # starts its background jobs with SIGINT ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, cancel, number)
        return await work

    with refusals():
        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            if not received:
                raise
            if received[0] is signal.SIGINT:
                typer.echo("interrupted", err=True)
            raise typer.Exit(128 + received[0]) from None


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Report what can't be used or started in one line, and as the exit status 2."""
    try:
        yield
    except (ClusterError, ConfigError) as error:
        typer.echo(f"pgmoor: {error}", err=True)
        raise typer.Exit(2) from None


@contextlib.contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Write pgmoor's log to a file, if there is one."""
    if path is None:
        yield
        return
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
    logger = logging.getLogger("pgmoor")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
