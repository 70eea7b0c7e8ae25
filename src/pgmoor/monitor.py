"""The background tasks: probes of each host, pings of idle connections, reconnection, holders.

They gather evidence and keep the pace; what follows from it is decided and done in `steering`.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from time import monotonic
from typing import TYPE_CHECKING

import anyio
from psycopg import errors

from .access import failure_of
from .backoff import delays, spread
from .connection import BAD, ManagedConnection
from .dial import Asker
from .events import HeldTooLong
from .health import Status
from .hosts import Facts, Host, Observation
from .logs import fields, fields_of
from .policy import BURST_FIRST, pace
from .sources import Unobtainable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from .access import Access
    from .checkout import Desk
    from .config import Settings
    from .events import Event
    from .instruments import Instrument
    from .steering import Steering

logger = logging.getLogger("pgmoor.monitor")

OLD_PROBE = 1.0  # seconds
SEARCHING_INTERVAL = 1.0  # seconds between questions for the host list while none qualifies


class Prober:
    """Asks one host who it is, over a connection of its own; a full pool is not a dead host."""

    def __init__(self, settings: Settings, host: Host, access: Access) -> None:
        self.host = host
        self._access = access
        self.wake = asyncio.Event()
        self.scope = anyio.CancelScope()  # of the task that uses it
        self._settings = settings
        self._asker = Asker(settings.name, host)
        self._conn: ManagedConnection | None = None
        self._patience = settings.health_timeout  # seconds for a new connection
        self._dialled_at: float | None = None  # when the newest connection was made
        self._renew = False

    async def probe(self, max_age: float = float("inf")) -> Observation:
        """Ask over the present connection, or a new one when that is older than *max_age* seconds.

        Return what was learnt, within about `health_timeout`; never raises psycopg's errors.
        """
        asked_at = monotonic()
        limit = self._settings.health_timeout
        if self._renew or asked_at - (self._dialled_at or asked_at) > max_age:
            self._renew = False
            self.close()
        try:
            facts = await self._ask(limit)
        except Exception as error:  # noqa: BLE001  whatever it is, the host could not be asked
            failure = failure_of(error, self._settings, limit)
            return Observation(self.host.index, asked_at, monotonic(), failure=failure)
        return Observation(self.host.index, asked_at, monotonic(), facts=facts)

    async def _ask(self, limit: float) -> Facts:
        if self._conn is not None:
            try:
                return await self._ask_over(self._conn, limit)
            except errors.Error:
                pass  # the server may have ended this one session only: a new one tells
        self._conn = await self._dial(limit)
        return await self._ask_over(self._conn, limit)

    async def _dial(self, limit: float) -> ManagedConnection:
        """Connect, within `health_timeout`, or more where that has never been enough.

        A connection takes several round trips, which over a long way with TLS add up.
        """
        began = monotonic()
        try:
            conn = await self._access.connect(ManagedConnection, self._patience)
        except TimeoutError:
            if self._dialled_at is None:
                self._patience = min(self._patience * 2, self._settings.connect_timeout)
            raise
        self._dialled_at = monotonic()
        took = self._dialled_at - began
        self._patience = max(limit, min(3 * took, self._settings.connect_timeout))
        return conn

    async def _ask_over(self, conn: ManagedConnection, limit: float) -> Facts:
        try:
            return await self._asker.ask(conn, limit)
        except BaseException:
            self.close()
            raise

    def redial(self) -> None:
        """Use a new connection from the next probe on: the address may lead elsewhere by now."""
        self._renew = True

    def close(self) -> None:
        """Close the probe's connection."""
        conn, self._conn = self._conn, None
        if conn is not None and conn.pgconn.status != BAD:
            conn.discard()


class Monitor:
    """Owns the background tasks while the manager is open."""

    def __init__(
        self,
        settings: Settings,
        access_to: Callable[[Host], Access],
        steering: Steering,
        desk: Desk,
        *,
        emit: Callable[[Event], None],
        instruments: list[Instrument],
    ) -> None:
        self._settings = settings
        self._steering = steering
        self._desk = desk
        self._emit = emit
        self._instruments = instruments
        self._tick_at = 0.0
        self._access_to = access_to
        self._group: TaskGroup | None = None
        self.probers: dict[int, Prober] = {}  # by the hosts' indices
        steering.wake_probers = self._wake
        steering.redial_prober = self._redial

    async def run(self) -> None:
        """Run all background tasks; ends by cancellation only."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._steering.run, name="pgmoor-steering")
                self._group = group
                self._watch_all()
                for work, name in (
                    (self._reconnect, "pgmoor-reconnect"),
                    (self._keep_alive, "pgmoor-keepalive"),
                    (self._watch_holders, "pgmoor-holders"),
                    (self._discover, "pgmoor-discovery"),
                ):
                    group.start_soon(self._for_ever, work, name, name=name)
        finally:
            for prober in self.probers.values():
                prober.close()

    async def probe_all(self, timeout: float) -> None:
        """Have every host probed anew; return when all have answered or failed, or in time."""
        asked_at = monotonic()
        self._wake()
        with anyio.move_on_after(timeout):
            await self._steering.signal.until(
                lambda: all(state.asked_at >= asked_at for state in self._steering.table)
            )

    def _wake(self) -> None:
        for prober in self.probers.values():
            prober.wake.set()

    def _redial(self, index: int) -> None:
        if prober := self.probers.get(index):
            prober.redial()

    async def _for_ever(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Repeat *work*; one bad turn is reported and does not end it."""
        while True:
            try:
                await work()
            except Exception:
                extra = fields("InternalError", self._settings.name, task=name)
                logger.exception("%s failed; going on", name, extra=extra)
                await asyncio.sleep(1.0)

    # -- hosts that come and go ----------------------------------------------------------------

    def _watch_all(self) -> None:
        """Have a probe for each host of the list and for the one in use, and for no other."""
        steering = self._steering
        wanted = {state.host.index: state.host for state in steering.table}
        if steering.current is not None:
            wanted[steering.current] = steering.table[steering.current].host
        for index in [index for index in self.probers if index not in wanted]:
            self.probers.pop(index).scope.cancel()
        assert self._group is not None
        for index, host in wanted.items():
            if index not in self.probers:
                prober = Prober(self._settings, host, self._access_to(host))
                self.probers[index] = prober
                self._group.start_soon(self._watch, prober, name=f"pgmoor-probe-{host}")

    async def _discover(self) -> None:
        """Ask for the host list anew: at its interval, and more often while a host is searched."""
        discovery = self._settings.discovery
        if discovery is None:
            await asyncio.Event().wait()
            return
        with anyio.move_on_after(spread(self._settings.hosts_interval)):
            await self._steering.searching.wait()
            await asyncio.sleep(spread(SEARCHING_INTERVAL))
        try:
            hosts = await discovery.ask_within(self._settings.connect_timeout)
        except Unobtainable as error:
            self._steering.list_unknown(error.failure)
        else:
            self._steering.revise(hosts)
        self._watch_all()

    # -- probes --------------------------------------------------------------------------------

    async def _watch(self, prober: Prober) -> None:
        with prober.scope:
            try:
                await self._ask_again_and_again(prober)
            finally:
                prober.close()

    async def _ask_again_and_again(self, prober: Prober) -> None:
        index = prober.host.index
        while self.probers.get(index) is prober:  # its cancellation may be on the way
            prober.wake.clear()
            try:
                seen = await prober.probe(self._max_age(prober.host))
                if self.probers.get(index) is not prober:
                    return
                self._tell(prober.host, seen)
                self._steering.observe(seen)
            except Exception:  # one bad turn must not end the watch over a host
                host = prober.host
                extra = fields("InternalError", self._settings.name, host=host.label)
                logger.exception("a probe of %s failed; going on", host, extra=extra)
            await self._pause(prober)

    def _tell(self, host: Host, seen: Observation) -> None:
        kind = seen.failure.kind.value if seen.failure else None
        for instrument in self._instruments:
            instrument.probed(host.label, seen.answered_at - seen.asked_at, kind)

    def _until_tick(self, interval: float) -> float:
        """Return the seconds until the hosts are probed next, all at once while all is well.

        A program at rest is woken once for all its hosts; a fleet of programs still spreads out.
        """
        now = monotonic()
        if self._tick_at <= now:
            self._tick_at = now + spread(interval)
        return self._tick_at - now

    def _max_age(self, host: Host) -> float:
        """Return how old a probe's connection may be, in seconds.

        While a host is searched for, an address that doesn't lead to one may have been given to
        another server, which an old connection would never tell.
        """
        searching = self._steering.situation.searching
        wanted = self._steering.wanted(host)
        return float("inf") if wanted or not searching else OLD_PROBE

    async def _pause(self, prober: Prober) -> None:
        steering = self._steering
        state = steering.table[prober.host.index]
        situation = steering.situation
        delay = pace(state, situation, self._settings.health_interval, monotonic())
        if delay is None:
            await prober.wake.wait()
            return
        if situation.unsure_since is None and state.status is not Status.REJECTED:
            delay = self._until_tick(delay)
        least = min(delay, BURST_FIRST)
        if state.status is Status.REJECTED:
            least = delay  # nothing but time or a person will help
        await asyncio.sleep(least)
        with anyio.move_on_after(delay - least):
            await prober.wake.wait()

    # -- reconnection --------------------------------------------------------------------------

    async def _reconnect(self) -> None:
        """While no host is in use, have those that are down asked again, ever more slowly."""
        await self._steering.searching.wait()
        began = monotonic()
        most, longest = self._settings.max_tries, self._settings.max_time
        waits = delays(self._settings.backoff_base, self._settings.backoff_cap)
        told = False
        for tries, delay in enumerate(waits, start=1):
            for instrument in self._instruments:
                instrument.searched()
            for prober in self.probers.values():
                status = self._steering.table[prober.host.index].status
                if status not in (Status.UP, Status.REJECTED):
                    prober.wake.set()
            last = most is not None and tries >= most
            if await self._found(self._settings.health_timeout if last else delay):
                return
            spent = monotonic() - began
            if spent >= self._settings.reconnect_timeout and not told:
                told = True
                self._steering.reconnect_failed(spent)
            if last or (longest is not None and spent >= longest):
                self._steering.give_up(tries, spent)
                return

    async def _found(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._steering.found.wait()
        return not self._steering.searching.is_set()

    # -- the pool ------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        """Ping the connection that has been idle longest, when it has been so for too long."""
        interval = self._settings.keepalive_interval
        pool = self._desk.pool
        oldest = pool.oldest_idle() if pool is not None else None
        due = monotonic() + interval if oldest is None else oldest + interval
        await asyncio.sleep(min(max(due - monotonic(), 0.0), interval))
        if pool is None or pool is not self._desk.pool or monotonic() < due:
            return
        conn = await pool.take_idle_since(monotonic() - interval)
        if conn is None:
            await asyncio.sleep(min(1.0, interval))
            return
        try:
            if not await pool.verify(conn):
                self._steering.nudge("an idle connection broke")
        finally:
            await self._desk.restock(pool, conn)

    async def _watch_holders(self) -> None:
        """Report each connection that is held for longer than `held_warning`, once."""
        limit = self._settings.held_warning
        if limit is None:
            await asyncio.Event().wait()
            return
        await asyncio.sleep(min(limit / 4, 60.0))
        pool = self._desk.pool
        now = monotonic()
        for conn in tuple(pool.connections) if pool is not None else ():
            if conn.holder and conn.reported != conn.lease and now - conn.held_since > limit:
                conn.reported = conn.lease
                self._report_holder(conn, now - conn.held_since)

    def _report_holder(self, conn: ManagedConnection, seconds: float) -> None:
        task = conn.holder
        name = task.get_name() if task is not None else "no task"
        frames = task.get_stack(limit=12) if task is not None else []
        lines = (line for frame in frames for line in traceback.format_stack(frame, limit=1))
        stack = "".join(lines)
        event = HeldTooLong(task=name, seconds=seconds, stack=stack)
        extra = fields_of(event, self._settings.name)
        logger.warning("%s\n%s", event, stack, extra=extra)
        self._emit(event)
