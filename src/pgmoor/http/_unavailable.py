"""The response to a request that gets no connection."""

from __future__ import annotations

from pgmoor.errors import ManagerClosed, NoHostAvailable, PoolExhausted, TooManyRequests

from ._response import UNAVAILABLE, Response

# Seconds. A full pool has room as soon as a request ends; after a failover a host is usually in use
# within a few seconds.
RETRY_AFTER: dict[type[Exception], int] = {
    PoolExhausted: 1,
    TooManyRequests: 1,
    NoHostAvailable: 5,
    ManagerClosed: 5,
}
UNAVAILABLE_ERRORS = tuple(RETRY_AFTER)  # all other errors are the application's

MAX_CAUSES = 8  # wrapped errors to look through; a chain may be a loop

_BODY = b'{"detail": "The database is temporarily unavailable."}'


def unavailable_cause(error: BaseException | None) -> Exception | None:
    """Return the error that means "no connection": *error*, or one among its causes; else None.

    Such errors are `PoolExhausted`, `TooManyRequests`, `NoHostAvailable` and `ManagerClosed`.
    SQLAlchemy, for example, wraps them.
    """
    for _ in range(MAX_CAUSES):
        if error is None or isinstance(error, UNAVAILABLE_ERRORS):
            return error
        error = error.__cause__
    return None


def unavailable_response(error: Exception) -> Response:
    """Return 503 with Retry-After, for an error from `unavailable_cause()`.

    The response leaves out the error's text, which names hosts.
    """
    seconds = next(after for kind, after in RETRY_AFTER.items() if isinstance(error, kind))
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Retry-After": str(seconds),
    }
    return Response(UNAVAILABLE, "application/json", _BODY, headers)
