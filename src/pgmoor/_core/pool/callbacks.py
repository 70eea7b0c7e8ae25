"""What the program wants to be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What the program wants to be called, as in `AsyncConnectionPool`."""

    connection_class: type[AsyncConnection[Any]]
    configure: Callable[[Any], Awaitable[None]] | None
    check: Callable[[Any], Awaitable[None]] | None
    reset: Callable[[Any], Awaitable[None]] | None
