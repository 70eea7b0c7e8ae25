"""The way to one host: its name resolved, fresh credentials, and patience when it turns us away.

The host's probe and the dials for its pool share it. How often they come is their business.
"""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from .discreet import discreetly
from .gate import Gate
from .redact import first_line
from .resolve import needs_resolving, resolve
from .shared import Shared
from .sources import Unobtainable
from .sqlstate import Failure, FailureKind, classify, describe_failure, is_wrong_password

if TYPE_CHECKING:
    from .asked import Asked, Params
    from .config import Settings
    from .connection import ManagedConnection
    from .hosts import Host

# Seconds that one address of a name is given before the next one is tried beside it, as RFC 8305
# has it for any connection ("Connection Attempt Delay", recommended: 0.25 s).
HEAD_START = 0.25


class Refused(Exception):  # noqa: N818  it is the host's word, and no fault
    """No attempt was made, or it came to nothing, for a reason that is known."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Access:
    """Makes connections to one host, each within its time."""

    def __init__(self, settings: Settings, host: Host, fresh: Asked | None) -> None:
        self.gate = Gate()
        self._settings = settings
        self._host = host
        self._fresh = fresh  # asks the callables among the settings; all hosts share it
        self._good: str | None = None  # the address that answered last
        self._opened = asyncio.Event()  # never set for longer than it takes to wake who waits
        self._names: Shared[tuple[str, ...]] | None = None
        if host.hostaddr is None and needs_resolving(host.host):
            self._names = Shared(lambda: resolve(host.host, host.port), f"pgmoor-resolve-{host}")

    def cancel(self) -> None:
        """End what is under way."""
        if self._names is not None:
            self._names.cancel()

    async def connect(self, cls: type[ManagedConnection], timeout: float) -> ManagedConnection:
        """Connect within *timeout* seconds; raise `Refused`, `TimeoutError` or psycopg's error.

        psycopg's own connect_timeout has a floor of 2 s. A dial is bounded from outside instead: it
        is thrown away when it is late, so nothing is lost by cancelling it.

        Whoever is turned away for good reason finds the gate shut for a while. Rejected credentials
        that a callable gave are asked for anew first, once.
        """
        if shut := self.gate.admit(monotonic()):
            raise Refused(shut)
        fresh = await self._ask()
        try:
            try:
                conn = await self._connect(cls, fresh, timeout)
            except Exception as error:
                if self._fresh is None or classify(error) is not FailureKind.CREDENTIALS:
                    raise
                newer = await self._ask(anew=True)
                if newer == fresh:
                    raise
                conn = await self._connect(cls, newer, timeout)
        except Exception as error:
            self.gate.failed(failure_of(error, self._settings, timeout), monotonic())
            raise
        if self.gate.passed():
            self._opened.set()
            self._opened.clear()
        return conn

    async def wait_until_let_in(self, longest: float) -> None:
        """Wait until somebody who had been turned away gets in, or for *longest* seconds."""
        with anyio.move_on_after(longest):
            await self._opened.wait()

    async def _ask(self, *, anew: bool = False) -> Params | None:
        if self._fresh is None:
            return None
        try:
            return await self._fresh.get(anew=anew)
        except Unobtainable as error:
            raise Refused(error.failure) from None

    async def _connect(
        self, cls: type[ManagedConnection], fresh: Params | None, timeout: float
    ) -> ManagedConnection:
        settings = self._settings
        params, arguments = fresh or (None, settings.connect_args)
        given = {**settings.params_of(self._host, params), **arguments}
        # Past this point only our own limit counts.
        given["connect_timeout"] = 3600
        with anyio.fail_after(timeout), discreetly():
            addresses = await self._addresses(timeout)
            if len(addresses) < 2:
                address = addresses[0] if addresses else given["hostaddr"]
                conn = await cls.connect(**{**given, "hostaddr": address})
            else:
                conn = await self._race(cls, given, addresses)
        settings.secrets.learn_from(conn.pgconn)
        return conn

    async def _addresses(self, timeout: float) -> tuple[str, ...]:
        """Return the addresses of the host's name, the one that answered last first."""
        if self._names is None:
            return ()
        try:
            # A little less than the limit, so that it is the name that is blamed.
            async with asyncio.timeout(timeout * 0.9):
                found = await self._names.get()
        except TimeoutError:
            words = f"its name was not resolved within {timeout:g} s"
            raise Refused(Failure(FailureKind.NAME, words)) from None
        except socket.gaierror as error:
            words = f"its name was not resolved: {error.strerror}"
            raise Refused(Failure(FailureKind.NAME, words)) from None
        return tuple(sorted(found, key=lambda address: address != self._good))

    async def _race(
        self, cls: type[ManagedConnection], given: dict[str, Any], addresses: tuple[str, ...]
    ) -> ManagedConnection:
        """Connect to the first address that answers, each with a head start before the next."""
        won: list[ManagedConnection] = []
        failed: list[Exception] = []

        async def run(address: str, over: asyncio.Event) -> None:
            try:
                conn = await cls.connect(**{**given, "hostaddr": address})
            except Exception as error:  # noqa: BLE001  `connection_class` is the user's
                failed.append(error)
            else:
                if won:  # another was ready in the same turn of the loop
                    conn.discard()
                else:
                    won.append(conn)
                    self._good = address
                    group.cancel_scope.cancel()
            over.set()

        try:
            async with anyio.create_task_group() as group:
                for address in addresses:
                    if any(is_wrong_password(error) for error in failed):
                        break  # as in libpq: each attempt counts where accounts are locked
                    over = asyncio.Event()
                    group.start_soon(run, address, over)
                    with anyio.move_on_after(HEAD_START):
                        await over.wait()
        except BaseException:
            for conn in won:  # it came in the turn in which the time was up
                conn.discard()
            raise
        if won:
            return won[0]
        # The word of a server says more than that of a kernel; most says one on the password.
        raise min(
            failed,
            key=lambda error: (
                not is_wrong_password(error),
                classify(error) is FailureKind.REFUSED,
            ),
        )


def failure_of(error: BaseException, settings: Settings, timeout: float) -> Failure:
    """Return what *error*, raised while dialling or asking, means; its text holds no secret."""
    if isinstance(error, Refused):
        return error.failure
    if isinstance(error, TimeoutError):
        return Failure(FailureKind.TIMEOUT, f"no answer within {timeout:g} s")
    # By now libpq knows the password that it has found in a file or in the environment.
    settings.secrets.learn_from(getattr(error, "pgconn", None))
    failure = describe_failure(error)
    return Failure(failure.kind, first_line(settings.secrets.redact(failure.text)))
