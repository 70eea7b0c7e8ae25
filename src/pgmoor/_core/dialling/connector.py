"""Makes connections to one host: resolves its name, gets credentials, and throttles logins.

The host's probe and the dials for its pool share it. How often they come is their business.
"""

from __future__ import annotations

import asyncio
import socket
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, cast

import anyio

from pgmoor._core.connection.abortable import AbortableConnection
from pgmoor._core.connection.identity import IdentityQuery
from pgmoor._core.connection.progress import DialProgress, reporting_to
from pgmoor._core.connection.users_class import UnusableConnect
from pgmoor._core.hosts.failures import Failure, FailureKind, classify, describe_failure
from pgmoor._core.reporting.psycopg_logs import without_dial_logs
from pgmoor._core.settings.calls import CallableFailed
from pgmoor._core.util.asynctools import SingleFlight
from pgmoor._core.util.awake_limit import fail_after
from pgmoor._core.util.redaction import first_line

from .address_race import race
from .dns import needs_resolving, resolve
from .login_throttle import LoginThrottle
from .users_connect import ConnectFailed, address_for, call_connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.parameters import ConnectParams
    from pgmoor._core.settings.settings import Settings

    from .credentials import Credentials, HostCredentials

C = TypeVar("C", bound=AbortableConnection)


class Connector:
    """Makes connections to one host, each within its timeout."""

    def __init__(self, settings: Settings, host: Host, credentials: HostCredentials | None) -> None:
        self.throttle: LoginThrottle = LoginThrottle()
        # One for the probe and the pool: what one learns of how to ask, the other need not.
        self.identity: IdentityQuery = IdentityQuery(settings.name, host)
        self._settings = settings
        self._host = host
        self._credentials = credentials  # None without callables
        self._good: str | None = None  # the address that answered last
        self._opened = asyncio.Event()  # set for a moment when logins succeed again
        self._names: SingleFlight[tuple[str, ...]] | None = None
        if host.hostaddr is None and needs_resolving(host.host):
            self._names = SingleFlight(
                lambda: resolve(host.host, host.port), f"pgmoor-resolve-{host}"
            )

    def apart(self) -> Connector:
        """Return the same for a login of its own, whose rejection holds up no other."""
        own = copy(self)
        own.throttle = LoginThrottle()
        own.identity = IdentityQuery(self._settings.name, self._host)
        return own

    def cancel(self) -> None:
        """Cancel what is under way."""
        if self._credentials is not None:
            self._credentials.cancel()
        if self._names is not None:
            self._names.cancel()

    async def connect(
        self,
        cls: type[C],
        timeout: float,
        progress: DialProgress | None = None,
        goes_on: Callable[[], bool] | None = None,
    ) -> C:
        """Connect within *timeout* seconds, or more while *goes_on* returns True, asked after each.

        *progress* is told how far that has come.

        Raises `ConnectFailed`, `TimeoutError` or psycopg's error.

        psycopg's connect_timeout has a floor of 2 s, so a dial is bounded from outside instead. A
        late dial is thrown away, so cancelling it loses nothing.

        After a rejection the next attempts fail at once, see `LoginThrottle`. Rejected credentials
        that a callable returned are fetched again first, once.
        """
        if rejection := self.throttle.admit(monotonic()):
            raise ConnectFailed(rejection)
        dial = progress or DialProgress()
        params = await self.params()
        try:
            try:
                conn = await self._connect(cls, params, timeout, dial, goes_on)
            except Exception as error:
                if self._credentials is None or classify(error) is not FailureKind.CREDENTIALS:
                    raise
                newer = await self.params(fresh=True)
                if newer == params:
                    raise
                conn = await self._connect(cls, newer, timeout, dial, goes_on)
        except Exception as error:
            self.throttle.failed(failure_of(error, self._settings, timeout), monotonic())
            raise
        if self.throttle.succeeded():
            self._opened.set()
            self._opened.clear()
        return conn

    async def wait_for_login(self, longest: float) -> None:
        """Wait until a login succeeds after rejections, or for *longest* seconds."""
        with anyio.move_on_after(longest):
            await self._opened.wait()

    async def params(self, *, fresh: bool = False) -> ConnectParams | None:
        """Return what the callables say, None without any; raise `ConnectFailed`."""
        if self._credentials is None:
            return None
        try:
            return await self._credentials.get(fresh=fresh)
        except CallableFailed as error:
            raise ConnectFailed(error.failure) from None

    async def _connect(
        self,
        cls: type[C],
        params: ConnectParams | None,
        timeout: float,
        dial: DialProgress,
        goes_on: Callable[[], bool] | None,
    ) -> C:
        settings, host = self._settings, self._host
        unresolved: ConnectFailed | None = None

        async def connect_to(address: str | None) -> AbortableConnection:
            if not settings.own_connect:
                return await call_connect(cls, *settings.connect_call(host, address, params))
            call = settings.connect_call(host, fresh=params)
            return await call_connect(cls, *call, address_for(host, address, unresolved))

        with fail_after(timeout, goes_on), without_dial_logs(), reporting_to(dial):
            addresses: tuple[str, ...] = ()
            try:
                addresses = await self._addresses(timeout)
            except ConnectFailed as error:
                if not settings.own_connect:
                    raise
                unresolved = error
            dial.begins()
            if len(addresses) > 1:
                self._good, conn = await race(addresses, connect_to)
            else:
                conn = await connect_to(addresses[0] if addresses else None)
        settings.secrets.learn_from(conn.pgconn)
        return cast("C", conn)

    async def _addresses(self, timeout: float) -> tuple[str, ...]:
        """Return the addresses of the host's name, the one that answered last first."""
        if self._names is None:
            return ()
        # Less than the limit, so that the name is blamed and not the server, and so that the class
        # has time to resolve the name in its own way.
        share = 0.5 if self._settings.own_connect else 0.9
        try:
            with fail_after(timeout * share):
                found = await self._names.get()
        except TimeoutError:
            problem = f"its name was not resolved within {timeout:g} s"
            raise ConnectFailed(Failure(FailureKind.NAME, problem)) from None
        except socket.gaierror as error:
            problem = f"its name was not resolved: {error.strerror}"
            raise ConnectFailed(Failure(FailureKind.NAME, problem)) from None
        return tuple(sorted(found, key=lambda address: address != self._good))


def failure_of(error: BaseException, settings: Settings, timeout: float) -> Failure:
    """Return what an error of a dial or a probe means; its text holds no secret."""
    if isinstance(error, ConnectFailed):
        return error.failure
    if isinstance(error, TimeoutError):
        # One of ours names the limit that applied.
        said = [word for word in error.args[:1] if isinstance(word, str)] or [_no_answer(timeout)]
        return Failure(FailureKind.TIMEOUT, first_line(settings.secrets.redact(said[0])))
    # libpq knows the password by now that it has found in a file or in the environment.
    settings.secrets.learn_from(getattr(error, "pgconn", None))
    failure = describe_failure(error)
    kind = FailureKind.SOURCE if isinstance(error, UnusableConnect) else failure.kind
    return Failure(kind, first_line(settings.secrets.redact(failure.text)))


def _no_answer(seconds: float) -> str:
    return f"no answer within {seconds:g} s"


class Connectors:
    """The connector of each host, made when it is first used."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials | None,
        is_known: Callable[[int], bool],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._is_known = is_known  # tells by its index whether a host is still known
        self._all: dict[int, Connector] = {}

    def to(self, host: Host) -> Connector:
        """Return the connector to a host."""
        for index in [index for index in self._all if not self._is_known(index)]:
            self._all.pop(index).cancel()
        if host.index not in self._all:
            own = None if self._credentials is None else self._credentials.to(host)
            self._all[host.index] = Connector(self._settings, host, own)
        return self._all[host.index]

    def cancel(self) -> None:
        """Cancel what is under way to any host."""
        if self._credentials is not None:
            self._credentials.cancel()
        for connector in self._all.values():
            connector.cancel()
