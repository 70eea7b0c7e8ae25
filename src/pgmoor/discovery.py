"""A host list that changes: a callable is asked for it now and then."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from . import cancelled
from .conninfo import hosts_from
from .errors import ConfigError
from .sources import Unobtainable
from .sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from .hosts import Host

HostsCallable = Callable[[], Sequence[str]] | Callable[[], Awaitable[Sequence[str]]]
HostsParam = Sequence[str] | HostsCallable


class Discovery:
    """Asks the callable that was given as `hosts`."""

    def __init__(self, source: HostsCallable, default_port: str = "") -> None:
        self._source = source
        self._default_port = default_port

    async def ask(self) -> tuple[Host, ...]:
        """Return the hosts as they are now; what the callable raises goes through.

        Raises `ConfigError` for an answer that is no list of addresses.
        """
        answer = self._source()
        found = await answer if inspect.isawaitable(answer) else answer
        return self.check(hosts_from(found, self._default_port))

    async def ask_within(self, seconds: float) -> tuple[Host, ...]:
        """Do what `ask()` does; raise `Unobtainable`, and nothing else, when there is no answer."""
        try:
            with anyio.fail_after(seconds):
                return await self.ask()
        except asyncio.CancelledError:
            if cancelled.is_ours():
                raise
            text = "the callable for hosts was cancelled"
        except TimeoutError:
            text = f"the callable for hosts gave nothing within {seconds:g} s"
        except ConfigError as error:
            text = str(error)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  the callable is the user's
            text = f"the callable for hosts raised {type(error).__name__}"
        raise Unobtainable(Failure(FailureKind.CONFIGURATION, text))

    @staticmethod
    def check(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
        """Return the hosts; raise `ConfigError` when one of them stands there twice."""
        if len({host.address for host in hosts}) < len(hosts):
            raise ConfigError("hosts", "one address stands twice", "name each server once")
        return hosts
