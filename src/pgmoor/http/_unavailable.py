"""The answer to a request that got no connection."""

from __future__ import annotations

from pgmoor.errors import ManagerClosed, NoHostAvailable, PoolExhausted, TooManyRequests

from ._response import UNAVAILABLE, Response

# These say that there is no connection now. All other errors are the application's.
UNAVAILABLE_ERRORS = (PoolExhausted, TooManyRequests, NoHostAvailable, ManagerClosed)

# Seconds. A full pool has room when a request has ended; a host is found within a second or so of
# its return.
RETRY_AFTER = {PoolExhausted: 1, TooManyRequests: 1, NoHostAvailable: 5, ManagerClosed: 5}

MAX_CAUSES = 8  # wrapped errors that are looked through; it also ends a chain that is a loop

_BODY = b'{"detail": "The database is not available just now."}'


def unavailable_cause(error: BaseException | None) -> Exception | None:
    """Return the one of `UNAVAILABLE_ERRORS` that *error* is or wraps, as SQLAlchemy's errors do.

    None if there is none: the error is the application's.
    """
    for _ in range(MAX_CAUSES):
        if error is None or isinstance(error, UNAVAILABLE_ERRORS):
            return error
        error = error.__cause__
    return None


def retry_after(error: Exception) -> int:
    """Return the seconds after which it is worth trying again."""
    return next(seconds for kind, seconds in RETRY_AFTER.items() if isinstance(error, kind))


def unavailable_response(error: Exception) -> Response:
    """Return 503 with Retry-After, for one of `UNAVAILABLE_ERRORS`.

    The error's text names hosts, so it is not in the answer.
    """
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Retry-After": str(retry_after(error)),
    }
    return Response(UNAVAILABLE, "application/json", _BODY, headers)
