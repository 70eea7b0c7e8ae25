"""A permission is a bool, a function of the request, or a coroutine function of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.http._permission import is_allowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def asynchronous(request: str) -> bool:
    return request == "admin"


@pytest.mark.parametrize("permission", [lambda request: request == "admin", asynchronous])
async def test_a_function_decides_by_the_request(
    permission: Callable[[str], bool | Awaitable[bool]],
) -> None:
    assert await is_allowed(permission, "admin") is True
    assert await is_allowed(permission, "guest") is False


@pytest.mark.parametrize("permission", [True, False])
async def test_a_bool_holds_for_every_request(permission: Any) -> None:
    assert await is_allowed(permission, "guest") is permission
