"""Calls a user's callable among the settings: with what, for how long, and what its errors say."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from pgmoor._core.hosts.failures import Failure
from pgmoor._core.util.asynctools import CallFailed, call_within
from pgmoor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pgmoor._core.hosts.failures import FailureKind

T = TypeVar("T")


class CallableFailed(Exception):  # noqa: N818  the fault is not the program's
    """A callable among the settings returned nothing usable."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


async def within(
    seconds: float, call: Callable[[], Coroutine[Any, Any, T]], what: str, kind: FailureKind
) -> T:
    try:
        return await call_within(seconds, call, what, show=ConfigError)
    except CallFailed as error:
        raise CallableFailed(Failure(kind, str(error))) from None


def kind_of(value: object) -> str:
    """Return in a word what a callable returned that is of no use; never the value."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


def takes_one(source: Callable[..., Any]) -> bool:
    """Return whether a callable needs one positional argument; an optional one gets none.

    What can't be told counts as right.
    """
    return not _binds(source) and _binds(source, None)


def check_arguments(name: str, source: Callable[..., Any], wanted: str = "none") -> None:
    """Raise `ConfigError` if a callable among the settings can't be called without arguments."""
    if not _binds(source):
        raise ConfigError(name, "its callable takes the wrong arguments", f"let it take {wanted}")


def _binds(source: Callable[..., Any], *arguments: object) -> bool:
    try:
        signature = inspect.signature(source)
    except Exception:  # noqa: BLE001  a callable of the user's may have none, or any
        return not arguments
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True
