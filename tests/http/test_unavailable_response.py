"""Which errors mean that a request got no connection, and the response to each."""

from __future__ import annotations

import json

import pytest

from pgmoor import ManagerClosed, NoHostAvailable, PoolExhausted, TooManyRequests
from pgmoor.health import PoolFigures
from pgmoor.http import unavailable_cause, unavailable_response

ERRORS: dict[Exception, str] = {
    PoolExhausted(1.0, PoolFigures()): "1",
    TooManyRequests(PoolFigures()): "1",
    NoHostAvailable("no host: db1:5432 is down"): "5",
    ManagerClosed("the manager is closed"): "5",
}


def wrapped(cause: BaseException, times: int) -> BaseException:
    error = cause
    for _ in range(times):
        outer = RuntimeError("wrapped")
        outer.__cause__ = error
        error = outer
    return error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_response_says_when_to_retry_and_names_no_host(error: Exception) -> None:
    response = unavailable_response(error)

    assert response.status_code == 503
    assert response.headers["Retry-After"] == ERRORS[error]
    assert response.headers["Cache-Control"] == "no-store"
    assert json.loads(response.body) == {"detail": "The database is temporarily unavailable."}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_cause_of_a_wrapper_is_found(error: Exception) -> None:
    assert unavailable_cause(error) is error
    assert unavailable_cause(wrapped(error, 3)) is error


def test_an_error_with_another_cause_is_the_applications() -> None:
    loop = RuntimeError("a loop of causes")
    loop.__cause__ = loop

    assert unavailable_cause(None) is None
    assert unavailable_cause(wrapped(ZeroDivisionError(), 1)) is None
    assert unavailable_cause(loop) is None
