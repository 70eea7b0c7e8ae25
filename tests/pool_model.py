"""A model of the pool: who waits, who holds, and what has to be true of the real one then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis.stateful import RuleBasedStateMachine

from pgmoor import NoHostAvailable, PoolExhausted
from stub_pool import INTRANS, SteppedLoop, ping

if TYPE_CHECKING:
    from pgmoor._core.pool.host_pool import HostPool
    from pgmoor._core.settings.sizes import Sizes
    from stub_pool import StubConnection, World

AT_ONCE = 3  # num_workers
REST = 50  # turns of the loop: until nothing happens any more


class Caller:
    """A task that takes a connection, holds it, and gives it back as it is told."""

    def __init__(self, model: PoolAccount, timeout: float | None) -> None:
        self.model = model
        self.conn: StubConnection | None = None
        self.waits = True
        self.command: asyncio.Future[str] = model.loop.create_future()
        self.number = len(model.callers)
        self.task = model.loop.create_task(self.live(timeout))

    def __hash__(self) -> int:
        """By age: the order of a set's members is to be the same in each run."""
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    async def live(self, timeout: float | None) -> None:
        queue = self.model.world.queue
        try:
            try:
                checkout = queue.checkout(timeout)
                conn: Any = await checkout.__aenter__()
            except (PoolExhausted, NoHostAvailable):
                return
            finally:
                self.waits = False
            self.conn = conn
            self.model.granted(self)
            try:
                await self.obey(conn)
            finally:
                self.model.holders.discard(self)
                await checkout.__aexit__(ValueError, None, None)  # an open transaction stays open
        except asyncio.CancelledError:
            pass

    async def obey(self, conn: StubConnection) -> None:
        how = await self.command
        if how == "transaction" and conn.unfinished:
            conn.pgconn.transaction_status = INTRANS
        elif how == "close":
            if self.model.world.settings.close_returns:
                self.model.holders.discard(self)
            await conn.close()
            await conn.close()
        elif how == "drop":
            conn.discard()

    @property
    def queues(self) -> bool:
        """Whether it waits for a connection, and tests none."""
        return (
            not self.task.done()
            and self.waits
            and all(conn.asking is not self.task for conn in self.model.world.questions)
        )


class PoolAccount(RuleBasedStateMachine):
    """What must hold, whatever happens; the steps are in a subclass."""

    world: World
    sizes: Sizes
    checks: bool

    def __init__(self) -> None:
        super().__init__()
        self.loop = SteppedLoop()
        self.problems: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(str(context)))
        self.patches = [patch("pgmoor._core.pool.verification.ping", ping)]
        for one in self.patches:
            one.start()
        self.callers: list[Caller] = []
        self.holders: set[Caller] = set()
        self.cut: set[StubConnection] = set()  # held ones, on hosts that were left
        self.checking: list[asyncio.Task[None]] = []
        self.warming: HostPool | None = None
        self.left: list[HostPool] = []
        self.queued: list[Caller] = []  # who waited when the loop was last at rest
        self.closed = False
        self.served: list[Caller] = []  # since then

    def do(self, work: Any, turns: int) -> None:
        self.loop.call(work)
        self.go(turns)

    def go(self, turns: int) -> None:
        if turns < REST:
            for _ in range(turns):
                self.loop.turn()
            return
        self.loop.settle()
        self.check()

    def retire(self, pool: HostPool, *, abort: bool) -> None:
        self.world.pools.retired.retire(pool, "it was left", abort=abort)
        if pool not in self.left:
            self.left.append(pool)
        held = {caller.conn for caller in self.holders if caller.conn}
        self.cut |= {c for c in held if c.owner is pool and (abort or c.abort_reason)}

    # -- what must hold --------------------------------------------------------------------------

    def live_held(self) -> int:
        """Count what is held, but for what was cut because its host was left."""
        held = {caller.conn for caller in self.holders} | self.world.resetting
        return len(held - self.cut)

    def granted(self, caller: Caller) -> None:
        assert caller.conn is not None
        taken = {other.conn for other in self.holders}
        self.holders.add(caller)
        self.served.append(caller)
        if caller.conn in taken:
            self.problems.append(f"{caller.conn} was lent twice")
        if not caller.conn.unfinished or caller.conn.doomed:
            self.problems.append(f"{caller.conn} was lent although it is closed")
        if self.live_held() > self.sizes.most:
            self.problems.append(f"{self.live_held()} of {self.sizes.most} connections are lent")
        if caller.conn.owner is not self.world.queue.pool:
            self.problems.append("a connection to a host that was left was lent")

    def size_of(self, pool: HostPool) -> int:
        held = {caller.conn for caller in self.holders} | self.world.resetting
        return sum(
            conn.owner is pool and (conn in held or (conn.unfinished and not conn.doomed))
            for conn in self.world.connections
        )

    def check(self) -> None:
        """Compare the pool with the model; the loop is at rest."""
        world, queue, ledger = self.world, self.world.queue, self.world.ledger
        assert not self.problems, self.problems
        held = {caller.conn for caller in self.holders} | world.resetting
        assert ledger.held == len(held)
        ready = [conn for pool in world.pools._all for conn in pool.ready]
        assert len(ready) == len(set(ready))
        assert not held & set(ready)
        for conn in world.connections:
            if conn.unfinished and not conn.doomed:
                assert conn in ledger.connections, f"{conn} is forgotten"
        assert not any(conn.closed for conn in ready)
        for pool in world.pools._all:
            assert pool.size == len(pool.connections) == self.size_of(pool)
            if pool.retired_because is not None:
                assert not pool.ready
            else:
                assert len(pool.ready) <= self.sizes.kept
                self.check_demand(pool)
        waiting = [caller for caller in self.callers if caller.queues]
        if not self.checks:
            assert len(waiting) == len(queue.waiting)
        if queue.waiting and queue.pool is not None and queue.pool.ready:
            assert self.live_held() >= self.sizes.most, "idle while somebody waits"
        self.check_order(waiting)

    def check_demand(self, pool: HostPool) -> None:
        """What is wanted is being made."""
        size, most = self.size_of(pool), self.sizes.most
        serving = pool is self.world.queue.pool
        held = {c.conn for c in self.holders if c.conn} | self.world.resetting
        elsewhere = {conn for conn in held if conn.owner is not pool}
        room = most - size - (len(elsewhere - self.cut) if serving else 0)
        waiting = len(self.world.queue.waiting) if serving else 0
        wanted = min(max(self.sizes.min_size - size, waiting - len(pool.ready)), room, AT_ONCE)
        dialling = len(pool.dialler.dials)  # type: ignore[attr-defined]
        assert dialling == pool.filler.dialling
        assert dialling >= wanted, f"{dialling} dials, {wanted} wanted"

    def check_order(self, waiting: list[Caller]) -> None:
        """Nobody who has queued all the time was overtaken, but by one who got a dead one."""
        again = self.world.had_their_turn
        still = [caller for caller in self.queued if caller in waiting and caller.task not in again]
        if still and self.served and not self.checks:  # a failed `check` has to be slept over
            late = max(self.served, key=self.callers.index)
            assert self.callers.index(late) < self.callers.index(still[0]), "overtaken"
        self.queued, self.served = waiting, []
        again.clear()

    # -- the end ---------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """When all goes well for a while, everything is as it should be."""
        self.rest()
        world = self.world
        assert world.ledger.held == 0
        assert not world.queue.waiting
        for pool in world.pools._all:
            if pool.retired_because is not None:
                assert pool.size == 0
                assert not pool.tasks
            else:
                assert not pool.filler.dialling
                assert self.sizes.min_size <= pool.size <= max(self.sizes.kept, 0)
                assert len(pool.ready) == pool.size == pool.inner.size

    def rest(self) -> None:
        for _ in range(300):
            self.loop.settle()
            self.check()
            busy = False
            for conn in self.world.questions:
                conn.answer.set_result("fine")  # type: ignore[union-attr]
                busy = True
            for dial in self.world.dials:
                dial.set_result(True)
                busy = True
            for caller in self.holders:
                if not caller.command.done():
                    caller.command.set_result("leave")
                    busy = True
            if not busy:
                if all(caller.task.done() for caller in self.callers):
                    return
                self.loop.advance(10)
        raise AssertionError("it never comes to rest")

    def stop(self, *, at_once: bool) -> None:
        """As Runtime.stop(), whatever goes on."""
        self.closed = True
        self.loop.settle()
        queue, pools = self.world.queue, self.world.pools

        def stop() -> None:
            queue.waiting.fail_all(lambda: NoHostAvailable("closed"))
            pool = queue.pool
            queue.serve_from(None)
            for one in (pool, self.warming):
                if one is not None:
                    self.retire(one, abort=False)

        self.loop.call(stop)
        self.warming = None
        if not at_once:
            self.loop.settle()
        closing = self.loop.create_task(self.close_pools())
        self.loop.advance(3)
        assert closing.done()
        closing.result()
        for pool in pools._all:
            assert not pool.tasks, "a task is left"

    async def close_pools(self) -> None:
        for pool in self.world.pools.retired:
            self.retire(pool, abort=True)
        await asyncio.gather(*(pool.tasks.aclose(1.0) for pool in self.world.pools.retired))

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                if not self.closed:
                    self.calm_down()
                    self.stop(at_once=True)
                self.rest()
                self.loop.advance(200)
                assert not [conn for conn in self.world.connections if conn.unfinished]
                assert not self.world.ledger.connections
                left = asyncio.all_tasks(self.loop)
                assert not left, left
        finally:
            for one in self.patches:
                one.stop()
            self.loop.end()
