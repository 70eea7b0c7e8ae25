"""Bound methods that do not keep their object alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def weakly(method: Callable[..., T]) -> Callable[..., T | None]:
    """Return a function that calls a bound method, or returns None once its object is gone."""
    reference = WeakMethod(method)

    def call(*args: Any) -> T | None:
        bound = reference()
        return None if bound is None else bound(*args)

    return call
