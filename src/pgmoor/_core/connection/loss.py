"""What a lost connection means for the work that was under way: rolled back, or unknown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import errors, pq

from pgmoor.errors import RetrySafety

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

E = TypeVar("E", bound=BaseException)

_BLANK = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_COMMITS = re.compile(
    rb"(?:\A|;)" + _BLANK + rb"(?:commit|end|prepare\s+transaction)\b", re.IGNORECASE | re.DOTALL
)


def safety_of_loss(
    *,
    in_transaction: bool,
    was_lost: bool,
    autocommit: bool,
    pipeline: bool,
    sent: Iterable[bytes],
) -> RetrySafety:
    """Return what is known of the work after its connection was lost.

    *was_lost*: the connection was dead before the statement, which then was not sent. *sent* are
    the statements under way.
    """
    if was_lost:
        return RetrySafety.ROLLED_BACK
    if pipeline or any(commits(statement) for statement in sent):
        return RetrySafety.UNKNOWN
    if autocommit and not in_transaction:
        return RetrySafety.UNKNOWN
    return RetrySafety.ROLLED_BACK


def commits(statement: bytes) -> bool:
    """Return whether a statement commits a transaction, or one of several in a string may."""
    return _COMMITS.search(statement) is not None


def statements_under_way(error: BaseException) -> list[bytes]:
    """Return the statements that psycopg was sending, or waiting for, when *error* was raised.

    Nothing else knows them: they are variables of psycopg's generators, which are found in the
    traceback. So they cost nothing while nothing fails.
    """
    found: list[bytes] = []
    for names in _variables(error):
        text = getattr(names.get("pgq"), "query", None)
        found += [value for value in (text, names.get("command")) if isinstance(value, bytes)]
    return found


def what_ended_it(error: errors.Error) -> errors.Error:
    """Return the error that says why a connection ended: *error*, or one that it hides.

    A pooler passes on what its server says when it ends the session, and adds an answer of its own.
    Where psycopg expects one answer, it reports their number, as an error of its own.
    """
    if type(error) is not errors.InternalError or error.sqlstate is not None:
        return error
    for names in _variables(error):
        results = names.get("results")
        for result in results if isinstance(results, list) else ():
            if result.status == pq.ExecStatus.FATAL_ERROR:
                return errors.error_from_result(result)
    return error


def _variables(error: BaseException) -> Iterator[Mapping[str, Any]]:
    """Return the local variables of each function that an error has passed, the outermost first."""
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame.f_locals
        traceback = traceback.tb_next


def note(error: E, safety: RetrySafety) -> E:
    """Note on an error what `retry_safety()` is to return for it."""
    error.retry_safety = safety  # type: ignore[attr-defined]
    return error
