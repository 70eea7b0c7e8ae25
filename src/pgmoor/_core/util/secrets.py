"""Holds secrets so that no repr, attribute walk, traceback or pickle shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from .redaction import pieces_of, redact, secret_arguments, secrets_among

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_KNOWN_SECRETS = 32  # more than are ever in use at once
_ENVIRONMENT = {"password": "PGPASSWORD", "options": "PGOPTIONS"}  # libpq reads them at each dial


class Hidden(Generic[T]):
    """Holds one value behind a function; its repr is fixed, and it refuses to be pickled."""

    __slots__ = ("reveal",)
    reveal: Callable[[], T]

    def __init__(self, value: T) -> None:
        self.reveal = lambda: value

    def __repr__(self) -> str:
        return "<hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("connection parameters can't be pickled: they may hold a password")


class Secrets:
    """Holds the connection parameters, and redacts their secret values from texts."""

    __slots__ = ("_learnt", "_params")

    def __init__(
        self, params: Mapping[str, str], arguments: Mapping[str, object] | None = None
    ) -> None:
        self._params = Hidden(dict(params))
        # Secret values, the newest last; each with its pieces once these have been computed.
        learnt: dict[str, frozenset[str] | None] = {}
        self._learnt = Hidden(learnt)
        self.learn(params, arguments)

    def __repr__(self) -> str:
        return "<secrets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("connection parameters can't be pickled: they may hold a password")

    def reveal(self) -> dict[str, str]:
        """Return the parameters in clear text, for the one call that dials."""
        return dict(self._params.reveal())

    def learn(
        self, params: Mapping[str, str], arguments: Mapping[str, object] | None = None
    ) -> None:
        """Redact the secret values among *params* from now on; only the newest few are kept.

        *arguments* are those of the connection class's own `connect()`.
        """
        learnt = self._learnt.reveal()
        for value in secrets_among(params) | secret_arguments(arguments or {}):
            learnt[value] = learnt.pop(value, None)
        while len(learnt) > _KNOWN_SECRETS:
            del learnt[next(iter(learnt))]

    def learn_from(self, pgconn: Any) -> None:
        """Learn the password that libpq used, from the environment or a password file."""
        password = getattr(pgconn, "password", b"")
        if password:
            self.learn({"password": password.decode(errors="replace")})

    def redact(self, text: str) -> str:
        """Return *text* with every piece of a secret replaced by asterisks."""
        found = {name: os.environ.get(variable, "") for name, variable in _ENVIRONMENT.items()}
        self.learn(found)
        learnt = self._learnt.reveal()
        for value, pieces in learnt.items():
            if pieces is None:
                learnt[value] = pieces_of(value)
        return redact(text, (pieces for pieces in learnt.values() if pieces))
