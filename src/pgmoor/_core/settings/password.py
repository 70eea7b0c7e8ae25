"""The callable that was given as the password: for all hosts, or for each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.util.asynctools import value_of
from pgmoor._core.util.secrets import Hidden
from pgmoor.errors import ConfigError
from pgmoor.tokens import Host as TokenHost
from pgmoor.tokens import Token

from .calls import check_arguments, kind_of, takes_one, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor._core.hosts.host import Host

    Answer = str | Token
    PasswordParam = (
        str
        | Callable[[], Answer]
        | Callable[[], Awaitable[Answer]]
        | Callable[[TokenHost], Answer]
        | Callable[[TokenHost], Awaitable[Answer]]
    )

RENEW_BEFORE = 60.0  # seconds before a token expires, or a tenth of its life if that is less


@dataclass(frozen=True, slots=True)
class Password:
    """An answer of the callable; instants are of `monotonic()`, which nobody sets."""

    value: Hidden[str]
    renew_at: float = -inf  # from then on the callable is called for new connections
    expires_at: float = inf

    @classmethod
    def of(cls, answer: str | Token, now: float) -> Password:
        """Return what was answered at *now*."""
        if not isinstance(answer, Token):
            return cls(Hidden(answer))
        lives = max((answer.expires_at - datetime.now(UTC)).total_seconds(), 0.0)
        early = min(RENEW_BEFORE, lives / 10)
        return cls(Hidden(answer.value), now + lives - early, now + lives)


class PasswordCallable:
    """Calls it, with the host if it takes one."""

    __slots__ = ("_source", "takes_host")

    def __init__(self, source: Callable[..., Any]) -> None:
        self.takes_host = takes_one(source)
        if not self.takes_host:
            check_arguments("password", source, "none, or the host")
        self._source = source

    async def call(self, host: Host | None = None) -> Password:
        """Return what it says now, for *host* if it takes one; raise what it raises."""
        arguments = () if host is None else (TokenHost(host.host, host.port, host.hostaddr),)
        answer = await value_of(self._source, *arguments)
        if not isinstance(answer, str | Token):
            raise ConfigError(
                "password",
                f"its callable returned {kind_of(answer)}",
                "let it return a string, or a Token",
            )
        return Password.of(answer, monotonic())

    async def call_within(self, seconds: float, host: Host | None) -> Password:
        """Do what `call()` does, but raise only `CallableFailed`; its text quotes no answer."""
        what = "password" if host is None else f"password, called with {host},"
        return await within(seconds, lambda: self.call(host), what, FailureKind.SOURCE)
