"""What web frameworks have in common: the answer to a request that got no connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor.errors import ManagerClosed, NoHostAvailable, PoolExhausted, TooManyRequests

from ._health import UNAVAILABLE, Rendering

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.health import Health

    from ._health import Check

# Errors that say: not now. All others are the application's.
NOT_NOW = (PoolExhausted, TooManyRequests, NoHostAvailable, ManagerClosed)

# Seconds. A full pool has room again when a request has ended; a host is found within a second or
# so of its return.
RETRY_AFTER = {PoolExhausted: 1, TooManyRequests: 1, NoHostAvailable: 5, ManagerClosed: 5}

DEPTH = 8  # how many errors may lie around one of them; it also ends a chain that bites its tail

_BODY = b'{"detail": "The database is not available just now."}'


def not_now(error: BaseException | None) -> Exception | None:
    """Return the one of `NOT_NOW` that *error* is, or was raised from as SQLAlchemy's are."""
    for _ in range(DEPTH):
        if error is None or isinstance(error, NOT_NOW):
            return error
        error = error.__cause__
    return None


def retry_after(error: Exception) -> int:
    """Return the seconds after which it is worth trying again."""
    return next(seconds for kind, seconds in RETRY_AFTER.items() if isinstance(error, kind))


def refuse(error: Exception) -> tuple[Rendering, dict[str, str]]:
    """Return the answer to a request that met one of `NOT_NOW`, and its headers.

    The error's text names hosts, so it is not in the answer.
    """
    answer = Rendering(UNAVAILABLE, "application/json", _BODY)
    return answer, {"Cache-Control": "no-store", "Retry-After": str(retry_after(error))}


def check(
    health: Health, which: Check, accept: str | None, query: Mapping[str, str], *, allowed: bool
) -> Rendering:
    """Return the answer to a health check.

    Hosts, figures and error texts are shown when the query asks for `details` and that is allowed.
    """
    return health.render(accept, check=which, details=allowed and "details" in query)
