"""Asks one host again and again, for one manager or for all that share its answers."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import anyio

from pgmoor._core.hosts.probe_pace import BURST_FIRST, BURST_LAST
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.asynctools import spawn
from pgmoor._core.util.backoff import spread

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pgmoor._core.hosts.host import Host, Observation

logger = logging.getLogger("pgmoor.monitor")

MOST_REFUSED = 3  # clients in a row that a host refuses for reasons of their own
RESTART_AFTER = 1.0  # seconds
FOREVER = float("inf")


class Pause(NamedTuple):
    """How long a client can wait for the next answer, in seconds."""

    delay: float | None  # None: until somebody asks
    least: float = 0.0  # what nobody can shorten
    regular: bool = False  # all is well: it may come at the same time as those of other hosts


class Client(Protocol):
    """What one manager wants to know of one host."""

    name: str  # the manager's
    host: Host
    key: Hashable  # those with the same one may share answers; None if this one may not
    ticks: Ticks  # while it asks for itself
    probe: HostProbe  # which asks for it now
    verified: bool  # its own session was answered, as those of the others are
    parting: bool  # it is to ask for itself, once the question that it asks for all has ended

    def take(self, seen: Observation, *, own: bool) -> None:
        """Take an outcome: of its *own* session, or of another manager's."""

    async def ask(self, *, max_age: float, redial: bool, renew: bool) -> Observation:
        """Ask over a session of this manager."""

    def hang_up(self) -> None:
        """Close this manager's session."""

    def pause(self, now: float) -> Pause:
        """Return how long it can wait."""

    def max_age(self) -> float:
        """Return how old a session may be that answers, in seconds."""

    def takes_redial(self) -> bool:
        """Return whether it asked for a new session, and forget that."""

    def renews(self) -> bool:
        """Return whether a new session is to be tried first, because the host took none."""


class Outcomes(Protocol):
    """What becomes of a probe's outcome."""

    def settle(self, probe: HostProbe, source: Client, seen: Observation) -> bool:
        """Pass on what *source* has learnt; return False if others have to ask for themselves."""

    def scatter(self, probe: HostProbe) -> None:
        """Have each client ask for itself."""


class Ticks:
    """The instants at which all hosts are asked while all is well.

    An idle program is woken once for all of them; many programs still spread out.
    """

    def __init__(self) -> None:
        self._next: dict[float, float] = {}  # by interval

    def until(self, interval: float) -> float:
        """Return the seconds until the next one."""
        now = monotonic()
        if self._next.get(interval, now) <= now:
            self._next[interval] = now + spread(interval)
        return self._next[interval] - now


class HostProbe:
    """One host, those who want to know of it, and the task that asks.

    The first of the clients is the source: the question goes over its session. When it leaves, the
    next one is asked.
    """

    def __init__(self, ticks: Ticks, outcomes: Outcomes) -> None:
        self.clients: list[Client] = []
        self.wanted: asyncio.Event = asyncio.Event()  # set while somebody wants an answer now
        self.newest: Observation | None = None  # what was passed on to all
        self.ticks = ticks
        self._due = FOREVER  # when the host is asked next, unless somebody wants that sooner
        self._outcomes = outcomes
        self._task: asyncio.Task[None] | None = None
        self._asked: Client | None = None  # whose session is asked at this moment
        self._asking: asyncio.Task[Observation] | None = None
        self._left: asyncio.Future[None] | None = None  # done when that client leaves

    @property
    def alive(self) -> bool:
        """Whether the host is being asked."""
        return self._task is not None and not self._task.done()

    def add(self, client: Client, *, rested: bool = True) -> None:
        """Ask for this client, too; the first one gets an answer at once if it is *rested*."""
        self.clients.append(client)
        if self._task is None:
            self._start(client, rested=rested)
            return
        now = monotonic()
        delay = client.pause(now).delay
        if delay is not None and now + delay < self._due:  # the others can wait for longer
            self.wanted.set()

    def _start(self, client: Client, *, rested: bool) -> None:
        # What serves many must not have the context variables of the first.
        self._task = spawn(
            self._run(rested=rested), f"pgmoor-probe-{client.host}", context=Context()
        )
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Start the task again that something else has cancelled, while anybody wants answers.

        After a pause: it may be the end of the loop.
        """
        if not self.clients or task is not self._task:
            return
        first, error = self.clients[0], None if task.cancelled() else task.exception()
        first.hang_up()
        extra = fields("InternalError", first.name, task=task.get_name())
        logger.error("%s ended; starting it again", task.get_name(), exc_info=error, extra=extra)
        task.get_loop().call_later(RESTART_AFTER, self._restart, task)

    def _restart(self, former: asyncio.Task[None]) -> None:
        if self.clients and self._task is former:
            self._start(self.clients[0], rested=True)

    def is_asking(self, client: Client) -> bool:
        """Return whether a question over this client's session is under way."""
        return self._asked is client

    def remove(self, client: Client, *, keep_session: bool = False) -> list[asyncio.Task[object]]:
        """Ask for this client no more; return the tasks that are about to end for that."""
        ending: list[asyncio.Task[object]] = []
        self.clients.remove(client)
        asking = self._asking
        if self.is_asking(client) and asking is not None:
            asking.cancel()
            asking.add_done_callback(lambda _: client.hang_up())
            if self._left is not None and not self._left.done():
                self._left.set_result(None)  # a `connect()` may ignore its cancellation
            ending.append(asking)
        elif not keep_session:
            client.hang_up()
        if not self.clients and self._task is not None and self._task is not _current():
            self._task.cancel()
            ending.append(self._task)
        return ending

    def pass_over(self, source: Client) -> None:
        """Have another client's session asked next, if there is one."""
        if len(self.clients) > 1 and self.clients[0] is source:
            self.clients.append(self.clients.pop(0))
            source.hang_up()

    def lead(self, client: Client) -> None:
        """Have this client's session asked from now on."""
        former = self.clients[0]
        self.clients.remove(client)
        self.clients.insert(0, client)
        if former is not client and not self.is_asking(former):
            former.hang_up()

    async def _run(self, *, rested: bool) -> None:
        if not rested:
            await self._pause()
        while self.clients:
            self.wanted.clear()
            try:
                await self._turn()
            except Exception:  # one bad turn must not end the probes of a host
                for client in self.clients[:1]:
                    extra = fields("InternalError", client.name, host=client.host.label)
                    logger.exception("a probe of %s failed; going on", client.host, extra=extra)
            await self._pause()

    async def _turn(self) -> None:
        """Ask until there is an outcome for all who want one."""
        refused = 0
        while self.clients and refused < MOST_REFUSED:
            source = self.clients[0]
            seen = await self._ask(source)
            if seen is not None:
                if self._outcomes.settle(self, source, seen):
                    return
                refused += 1
            elif source in self.clients:
                return  # something else has cancelled it
        self._outcomes.scatter(self)

    async def _ask(self, source: Client) -> Observation | None:
        """Return what *source* learns; None if it left meanwhile.

        A task of its own asks: what cancels a question does not end the others.
        """
        clients = self.clients
        redials = [client.takes_redial() for client in clients]
        asking = self._asking = spawn(
            source.ask(
                max_age=min(client.max_age() for client in clients),
                redial=any(redials),
                renew=source.renews(),
            ),
            f"pgmoor-ask-{source.host}",
        )
        self._asked, self._left = source, asyncio.get_running_loop().create_future()
        either: list[asyncio.Future[Any]] = [asking, self._left]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        finally:
            self._asked = self._asking = None
        if source not in self.clients:
            return None
        if source is not self.clients[0]:
            source.hang_up()  # another one leads meanwhile
        return None if asking.cancelled() else asking.result()

    async def _pause(self) -> None:
        now = monotonic()
        pauses = [client.pause(now) for client in self.clients]
        delays = [pause.delay for pause in pauses if pause.delay is not None]
        self._due = FOREVER
        if not delays:
            if len(pauses) > 1:  # each asks in its own rounds
                await asyncio.sleep(BURST_LAST)
            if self.clients:
                await self.wanted.wait()
            return
        delay = min(delays)
        if all(pause.regular for pause in pauses if pause.delay is not None):
            delay = self.ticks.until(delay)
        self._due = now + delay
        least = min(delay, max(BURST_FIRST, min(pause.least for pause in pauses)))
        await asyncio.sleep(least)
        with anyio.move_on_after(delay - least):
            await self.wanted.wait()


def _current() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no running event loop
        return None
