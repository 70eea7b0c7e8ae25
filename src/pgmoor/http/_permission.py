"""Whether a request may see hosts, figures and error texts."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

from pgmoor._core.settings.mistakes import shown

R = TypeVar("R")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Permission = bool | Callable[[R], bool | Awaitable[bool]]


def check_permission(name: str, permission: object) -> None:
    """Raise `TypeError` for anything but a bool or a function: the text "false" counts as true."""
    if not (isinstance(permission, bool) or callable(permission)):
        raise TypeError(
            f"{name} is {shown(permission)}; give True, False or a function of the request"
        )


async def is_allowed(permission: Permission[R], request: R) -> bool:
    """Return *permission*, or what it returns for *request* if it is a function."""
    if not callable(permission):
        return permission
    allowed = permission(request)
    return bool(await allowed if inspect.isawaitable(allowed) else allowed)
