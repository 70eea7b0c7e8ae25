"""`HostWatch`: which managers of a process have their hosts probed together."""

from __future__ import annotations

import asyncio
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from pgmoor._core.settings.mistakes import shown
from pgmoor._core.util import forking
from pgmoor.errors import ConfigError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Hashable

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.settings import Settings

    from .loop_watch import LoopWatch

# These may differ between managers that share the probes of a server.
_OF_ONE_LOGIN = frozenset(
    {
        *("dbname", "user", "password", "passfile"),
        *("application_name", "fallback_application_name"),
    }
)
_SALT = os.urandom(16)


class HostWatch:
    """Lets managers share the probes of their hosts: give the same one to each as `watch`.

    A host that several of them list is then probed once for all, over a session of one of them. A
    failure that concerns only one database or role counts only for its own manager.

    Without one, managers in the same event loop share the hosts that they reach in the same way:
    libpq's parameters must be the same, except for database, user, password and application name.
    With one, they share every host with the same address, whatever the parameters. Either way,
    `health_timeout` and `connect_timeout` must be the same, and the shortest `health_interval`
    counts. To share nothing, give a manager its own `HostWatch()`.

    It holds nothing while no manager is open. Each event loop and each process has its own probes.
    """

    _whoever = True  # whatever the managers' parameters are

    def __init__(self) -> None:
        # Managers keep their loop's watch alive. It knows its loop, so that here it must not.
        self._loops: WeakKeyDictionary[AbstractEventLoop, ref[LoopWatch]] = WeakKeyDictionary()

    def _here(self) -> LoopWatch:
        from .loop_watch import LoopWatch  # noqa: PLC0415  `import pgmoor` does without it

        forking.register(self)
        loop = asyncio.get_running_loop()
        known = self._loops.get(loop)
        watch = known() if known is not None else None
        if watch is None:
            watch = LoopWatch()
            self._loops[loop] = ref(watch)
        return watch

    def _key(self, settings: Settings, host: Host) -> Hashable:
        limits = settings.health_timeout, settings.connect_timeout
        way = b"" if self._whoever else _way(settings)
        return host.address, limits, way

    def _disown(self) -> None:
        """Forget the parent's probes, in a forked child."""
        self._loops = WeakKeyDictionary()


class _Common(HostWatch):
    """The watch of all managers that reach their hosts in the same way."""

    _whoever = False


def watch_here(watch: HostWatch) -> LoopWatch:
    """Return what watches in the running event loop."""
    return watch._here()  # noqa: SLF001  a user is not to call it


def key_of(watch: HostWatch, settings: Settings, host: Host) -> Hashable:
    """Return what managers must have in common to share a host."""
    return watch._key(settings, host)  # noqa: SLF001  as above


def _way(settings: Settings) -> bytes:
    """Return a digest of how hosts are reached, which shows no secret."""
    params = settings.secrets.reveal()
    known = sorted((name, params[name]) for name in params.keys() - _OF_ONE_LOGIN)
    return blake2b(repr(known).encode(errors="surrogatepass"), key=_SALT).digest()


_common = _Common()


def watch_for(given: Any, settings: Settings) -> HostWatch:
    """Return the watch of a manager: the one *given*, or one that suits its settings.

    A `connect()` of a connection class, and callables other than for the password, may lead each
    manager elsewhere: it shares with nobody unless it is told to.
    """
    if given is not None and not isinstance(given, HostWatch):
        raise ConfigError(
            "watch", f"{shown(given)} is not a HostWatch", "give a pgmoor.HostWatch(), or None"
        )
    if given is not None:
        return given
    alike = not settings.own_connect and not settings.callables.names()
    return _common if alike else HostWatch()
