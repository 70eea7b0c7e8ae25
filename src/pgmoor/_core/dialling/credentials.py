"""What the callables among the settings returned, for the dials to each host."""

from __future__ import annotations

import logging
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.settings.calls import CallableFailed
from pgmoor._core.util.asynctools import SingleFlight
from pgmoor._core.util.once_per import OncePer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.parameters import ConnectParams
    from pgmoor._core.settings.password import Password
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.util.secrets import Hidden

logger = logging.getLogger("pgmoor.dial")

REPORT_AGAIN = 60.0  # seconds


class Kept(Protocol):
    """What a callable returned, and for how long it is kept; instants of `monotonic()`."""

    @property
    def renew_at(self) -> float:
        """From when on the callable is called again."""

    @property
    def expires_at(self) -> float:
        """Until when it may be used while the callable fails."""


K = TypeVar("K", bound=Kept)


class Given:
    """The parameters that the callables returned; they are asked whenever a dial needs them."""

    renew_at = -inf
    expires_at = inf

    def __init__(self, params: Hidden[ConnectParams]) -> None:
        self.params = params


class Source(Generic[K]):
    """Calls a callable, once a second at most; while it fails, returns its last answer."""

    def __init__(self, call: Callable[[], Coroutine[None, None, K]], manager: str) -> None:
        self._name = manager
        self._calls = SingleFlight(call, f"{manager}-credentials")
        self._last: K | None = None
        self._report: OncePer[None] = OncePer(REPORT_AGAIN)

    async def get(self, *, fresh: bool) -> K:
        """Return what it says now, or its last answer while that need not be renewed.

        With *fresh*, after a server has rejected the last answer, only a new one will do. Raises
        `CallableFailed`.
        """
        last = self._last
        if last is not None and not fresh and monotonic() < last.renew_at:
            return last
        try:
            last = self._last = await self._calls.get(fresh=fresh)
        except CallableFailed as error:
            if last is None or fresh or monotonic() >= last.expires_at:
                raise
            if self._report.allows(monotonic(), None):
                extra = fields("SourceFailed", self._name, reason=error.failure.text)
                logger.warning("using the last known credentials: %s", error.failure, extra=extra)
        return last

    def cancel(self) -> None:
        """Cancel the call that is under way, if any."""
        self._calls.cancel()


class HostCredentials:
    """The credentials for one host; its password may be its own."""

    def __init__(
        self, shared: Source[Given], password: Source[Password] | None, *, own: bool
    ) -> None:
        self._shared = shared
        self._password = password
        self._own = own  # the password's source serves no other host

    async def get(self, *, fresh: bool = False) -> ConnectParams:
        """Return what the callables say; raise `CallableFailed`. *fresh* is as in `Source`."""
        given = (await self._shared.get(fresh=fresh)).params.reveal()
        if self._password is None:
            return given
        return given.with_password((await self._password.get(fresh=fresh)).value.reveal())

    def cancel(self) -> None:
        """Cancel a call that is under way for this host alone."""
        if self._own and self._password is not None:
            self._password.cancel()


class Credentials:
    """The callables' answers: one for all hosts, but a password for each if it takes the host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shared = Source(self._ask, settings.name)
        self._password = self._source(None) if settings.callables.password is not None else None

    def to(self, host: Host) -> HostCredentials:
        """Return the credentials for a host."""
        source = self._settings.callables.password
        own = source is not None and source.takes_host
        password = self._source(host) if own else self._password
        return HostCredentials(self._shared, password, own=own)

    def cancel(self) -> None:
        """Cancel the calls that are under way for all hosts."""
        self._shared.cancel()
        if self._password is not None:
            self._password.cancel()

    def _source(self, host: Host | None) -> Source[Password]:
        settings = self._settings
        return Source(lambda: settings.fresh_password(host), settings.name)

    async def _ask(self) -> Given:
        return Given(await self._settings.fresh_params())
