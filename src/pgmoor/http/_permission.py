"""Whether a request may see what is not for everybody."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

R = TypeVar("R")


async def is_allowed(
    permission: bool | Callable[[R], bool | Awaitable[bool]],
    request: R,
) -> bool:
    """Return *permission*, or what it returns for *request* where it is a function."""
    if not callable(permission):
        return permission
    answer = permission(request)
    return bool(await answer if inspect.isawaitable(answer) else answer)
