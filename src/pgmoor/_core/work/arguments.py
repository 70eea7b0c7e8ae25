"""Checks what `run()`, `transactional()` and `retrying()` are given."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from pgmoor._core.settings.mistakes import shown
from pgmoor._core.settings.validation import check_timeout
from pgmoor.errors import ConfigError

from .retry import Retry


def check_arguments(timeout: object, retry: object) -> None:
    """Raise `ConfigError` for a timeout or a `Retry` that can't be used."""
    check_timeout(timeout)
    if not (retry is None or isinstance(retry, Retry)):
        raise ConfigError(
            "retry",
            f"{shown(retry)} is not a Retry",
            "give pgmoor.Retry(...), such as Retry(attempts=1) for no repeats, or None",
        )


def check_function(fn: Any) -> None:
    """Raise `TypeError` for what can't be called as `fn(conn, *args)` and awaited."""
    if isinstance(fn, FunctionType) and fn.__code__.co_flags & inspect.CO_COROUTINE:
        return  # as it should be, and quickly told
    if inspect.iscoroutine(fn):
        fn.close()
        raise TypeError("run() calls the function itself: pass fn and its arguments, not fn(...)")
    if not callable(fn) or inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise TypeError(f"run() needs a coroutine function, not {type(fn).__name__}")
