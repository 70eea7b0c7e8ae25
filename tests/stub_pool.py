"""A manager's pools and queue without a server: connections, dials and time obey the test."""

from __future__ import annotations

import asyncio
import select
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from psycopg import errors, pq

from pgmoor import ConnectionManager, ManagedConnection
from pgmoor._core.dialling.dialler import HostLeft
from pgmoor._core.failover.host_pools import HostPools
from pgmoor._core.pool.callbacks import Callbacks
from pgmoor._core.pool.checkout_queue import CheckoutQueue
from pgmoor._core.pool.ledger import Ledger
from pgmoor._core.reporting.counters import DialCounter
from pgmoor._core.reporting.reporter import Reporter
from pgmoor._core.state.live import LiveState

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.pool.host_pool import HostPool

IDLE, ACTIVE, INTRANS = (
    pq.TransactionStatus.IDLE,
    pq.TransactionStatus.ACTIVE,
    pq.TransactionStatus.INTRANS,
)
OK, BAD = pq.ConnStatus.OK, pq.ConnStatus.BAD


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that runs turn by turn, with a clock that stands still meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        """Run what is ready, once."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> None:
        """Run until nothing happens any more without time."""
        for _ in range(10_000):
            if not self._ready and not self._due(self.now):  # type: ignore[attr-defined]
                return
            self.turn()
        raise AssertionError("the loop is never at rest")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.settle()
        while due := self._due(end):
            self.now = max(self.now, due[0])
            self.settle()
        self.now = end

    def _due(self, until: float) -> list[float]:
        timers = self._scheduled  # type: ignore[attr-defined]
        return sorted(t.when() for t in timers if not t.cancelled() and t.when() <= until)

    def end(self) -> None:
        """Cancel all that is left, and close."""
        while tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self.turn()
        self.close()

    def call(self, work: Callable[[], Any]) -> Any:
        """Call a function from inside the running loop."""
        outcome: list[Any] = []

        async def run() -> None:
            outcome.append(work())

        task = self.create_task(run())
        self.turn()
        task.result()
        return outcome[0]


class StubPgconn:
    """What the pool looks at of libpq's connection."""

    def __init__(self) -> None:
        self.socket = 0
        self.status = OK
        self.transaction_status = IDLE

    def finish(self) -> None:
        self.status, self.transaction_status = BAD, pq.TransactionStatus.UNKNOWN


class StubConnection(ManagedConnection):
    """A connection whose server answers when the test says so."""

    pgconn: Any

    def __init__(self, world: World) -> None:
        self.number = len(world.connections)
        super().__init__(cast("Any", StubPgconn()))
        self.world = world
        self.unread = False
        self.answer: asyncio.Future[str] | None = None
        self.asking: asyncio.Task[Any] | None = None
        self.poll = lambda _: [(0, select.POLLIN | select.POLLHUP)] if self.unread else []
        world.connections.append(self)

    def __repr__(self) -> str:
        return f"<stub {self.world.connections.index(self)}>"

    @property
    def unfinished(self) -> bool:
        """Whether its descriptor is still open."""
        return bool(self.pgconn.status != BAD)

    @property
    def doomed(self) -> bool:
        return self._doomed

    def die(self) -> None:
        """The server ends it."""
        self.unread = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_result("broken")

    def abort(self, reason: str) -> None:
        if self.unfinished:
            self.abort_reason = self.abort_reason or ("stub", reason)
            self.die()

    def __hash__(self) -> int:
        """By age: the order of a set's members is to be the same in each run."""
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    async def ask(self) -> None:
        """Make one round trip."""
        async with self.lock:
            if not self.unfinished:
                raise errors.OperationalError("the connection is closed")
            before = self.pgconn.transaction_status
            self.pgconn.transaction_status = ACTIVE
            self.answer = asyncio.get_running_loop().create_future()
            self.asking = asyncio.current_task()
            self.world.had_their_turn.add(self.asking)
            self._waiters += 1
            if self.unread:
                self.answer.set_result("broken")
            outcome = "cancelled"
            try:
                outcome = await self.answer
            finally:
                self.answer = self.asking = None
                self.pgconn.transaction_status = before
                self._waiters -= 1
                if outcome == "broken" or (self._doomed and not self._waiters):
                    self.pgconn.finish()
        if outcome == "silent":
            self.abort("no answer")
            raise TimeoutError
        if outcome == "broken":
            raise errors.OperationalError("the connection broke")

    async def rollback(self) -> None:
        self.world.resetting.add(self)
        try:
            await self.ask()
            self.pgconn.transaction_status = IDLE
        finally:
            self.world.resetting.discard(self)


async def ping(conn: StubConnection, _: float) -> None:
    """Stand for the pool's own ping."""
    await conn.ask()


class StubDialler:
    """Dials that succeed, fail or hang as the test says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dials: list[asyncio.Future[bool]] = []
        self.retired = False

    def retire(self) -> None:
        self.retired = True
        for dial in self.dials:
            if not dial.done():
                dial.set_result(False)

    async def dial(self, wanted: Callable[[], bool]) -> StubConnection:
        while not self.retired and wanted():
            dial = asyncio.get_running_loop().create_future()
            self.dials.append(dial)
            try:
                succeeded = await dial
            finally:
                self.dials.remove(dial)
            if succeeded:
                return StubConnection(self.world)
        raise HostLeft("the host was left, or nothing is wanted")


class World:
    """The real queue, ledger and pools over stubs."""

    def __init__(self, *, checks: bool = False, **settings: Any) -> None:
        self.connections: list[StubConnection] = []
        self.resetting: set[StubConnection] = set()
        self.diallers: list[StubDialler] = []
        self.had_their_turn: set[Any] = set()  # tasks that tested a connection
        manager = ConnectionManager("user=nobody", hosts=["a.invalid", "b.invalid"], **settings)
        self.settings = manager._settings
        live = LiveState(self.settings, Reporter("stub", [], manager._listeners), [])
        self.live = live
        self.hosts = self.settings.hosts
        self.ledger = Ledger(self.settings.sizes)
        self.queue = CheckoutQueue(live, self.ledger, checks=checks, unusable=lambda: None)
        self.queue.open()
        callbacks = Callbacks(
            connection_class=StubConnection,
            configure=None,
            check=StubConnection.ask if checks else None,
            reset=None,
        )
        self.pools = HostPools(
            live,
            cast("Any", self),
            callbacks,
            ledger=self.ledger,
            lender=self.queue,
            dial_counter=DialCounter(),
        )

    def to(self, host: Any) -> Any:
        """Stand for the connectors."""
        return SimpleNamespace(identity=None)

    def make_pool(self, host: int) -> HostPool:
        pool = self.pools.make(self.hosts[host])
        dialler = StubDialler(self)
        self.diallers.append(dialler)
        pool.dialler = cast("Any", dialler)
        return pool

    @property
    def dials(self) -> list[asyncio.Future[bool]]:
        """All dials that wait for their outcome."""
        return [dial for dialler in self.diallers for dial in dialler.dials if not dial.done()]

    @property
    def questions(self) -> list[StubConnection]:
        """All connections that wait for an answer of their server."""
        return [conn for conn in self.connections if conn.answer and not conn.answer.done()]
