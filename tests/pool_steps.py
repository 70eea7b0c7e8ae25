"""The steps that the pool and its model are taken through."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from pgmoor._core.pool.idle import check_idle
from pgmoor._core.settings.sizes import Sizes
from pool_model import REST, Caller, PoolAccount
from stub_pool import World

if TYPE_CHECKING:
    from pgmoor._core.pool.host_pool import HostPool

TURNS = st.sampled_from([0, 0, 1, 2, 3, REST])  # of the loop after a step
PICK = st.integers(0, 30)
SIZES = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)).filter(
    lambda drawn: sum(drawn) > 0
)


class PoolModel(PoolAccount):
    """Anything may happen at any time, and several things in one turn of the loop."""

    @initialize(
        sizes=SIZES,
        close_returns=st.booleans(),
        closes_idle=st.booleans(),
        checks=st.sampled_from([False, False, True]),
        callers=st.integers(0, 5),
    )
    def begin(
        self,
        sizes: tuple[int, int, int],
        callers: int,
        *,
        close_returns: bool = False,
        closes_idle: bool = False,
        checks: bool = False,
    ) -> None:
        least, more, overflow = sizes
        self.overflow = overflow
        self.closes_idle = closes_idle
        self.sizes = Sizes(least, least + more, overflow, closes_idle)
        self.world = self.loop.call(
            lambda: World(
                checks=checks,
                min_size=least,
                max_size=least + more,
                max_overflow=overflow,
                close_returns=close_returns,
                max_idle=0 if closes_idle else 600,
                close_timeout=1,
            )
        )
        self.checks = checks
        self.host = 0
        self.fail_over(abort=False, turns=REST)
        for _ in range(callers):
            self.acquire(None, REST)
            self.all_goes_well()

    @precondition(lambda self: not self.closed)
    @rule(timeout=st.sampled_from([0.0, 1.0, 5.0, None]), turns=TURNS)
    def acquire(self, timeout: float | None, turns: int) -> None:
        self.callers.append(Caller(self, timeout))
        self.go(turns)

    @precondition(lambda self: self.holders)
    @rule(
        which=PICK,
        how=st.sampled_from(["leave", "leave", "transaction", "close", "drop"]),
        turns=TURNS,
    )
    def give_back(self, which: int, how: str, turns: int) -> None:
        holders = [caller for caller in self.callers if caller in self.holders]
        caller = holders[which % len(holders)]
        if not caller.command.done():
            caller.command.set_result(how)
        self.go(turns)

    @rule(which=PICK, turns=TURNS)
    def cancel(self, which: int, turns: int) -> None:
        tasks = [caller.task for caller in self.callers] + self.checking
        if tasks := [task for task in tasks if not task.done()]:
            tasks[which % len(tasks)].cancel()
        self.go(turns)

    @rule(which=PICK, turns=TURNS)
    def kill(self, which: int, turns: int) -> None:
        if living := [conn for conn in self.world.connections if conn.unfinished]:
            living[which % len(living)].die()
        self.go(turns)

    @precondition(lambda self: self.world.questions)
    @rule(which=PICK, what=st.sampled_from(["fine", "fine", "broken", "silent"]), turns=TURNS)
    def answer(self, which: int, what: str, turns: int) -> None:
        asked = self.world.questions
        asked[which % len(asked)].answer.set_result(what)  # type: ignore[union-attr]
        self.go(turns)

    @precondition(lambda self: self.world.dials)
    @rule(which=PICK, succeeds=st.sampled_from([True, True, True, False]), turns=TURNS)
    def dialled(self, which: int, succeeds: bool, turns: int) -> None:
        dials = self.world.dials
        dials[which % len(dials)].set_result(succeeds)
        self.go(turns)

    @rule()
    def all_goes_well(self) -> None:
        self.loop.settle()
        for _ in range(20):
            for conn in self.world.questions:
                conn.answer.set_result("fine")  # type: ignore[union-attr]
            for dial in self.world.dials:
                dial.set_result(True)
            self.loop.settle()
        self.check()

    @rule(seconds=st.sampled_from([0.5, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.settle()
        self.loop.advance(seconds)
        self.check()

    @rule(which=PICK, what=st.sampled_from(["old", "expired"]))
    def age(self, which: int, what: str) -> None:
        pool = self.world.queue.pool
        if pool is None or not pool.ready:
            return
        for conn in pool.ready[: which % len(pool.ready) + 1]:
            if what == "expired":
                conn.expires_at = 0.0
            else:
                conn.idle_since -= 1000
                conn.tested_at -= 1000

    # -- what the manager and its controller do --------------------------------------------------

    @precondition(lambda self: not self.closed and self.world.queue.pool is not None)
    @rule(what=st.sampled_from(["drain", "sweep", "cut off", "check"]), turns=TURNS)
    def look_after(self, what: str, turns: int) -> None:
        pool = self.world.queue.pool
        assert pool is not None
        if what == "check":
            self.checking.append(self.loop.create_task(self.check_quietly(pool)))
            self.go(turns)
        elif what == "cut off":
            self.do(lambda: self.world.pools.cut_off(pool.host, "replaced"), turns)
        else:
            self.do(pool.drain if what == "drain" else pool.sweep, turns)

    async def check_quietly(self, pool: HostPool) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await check_idle(pool)

    @precondition(lambda self: not self.closed)
    @rule(sizes=SIZES, turns=TURNS)
    def resize(self, sizes: tuple[int, int, int], turns: int) -> None:
        least, more, _ = sizes
        if least + more + self.overflow == 0:
            return
        self.sizes = Sizes(least, least + more, self.overflow, self.closes_idle)

        def work() -> None:  # as Runtime.resize()
            self.world.pools.resize(self.sizes)
            self.world.queue.feed()

        self.do(work, turns)

    @precondition(lambda self: not self.closed and self.warming is None)
    @rule(turns=TURNS)
    def warm(self, turns: int) -> None:
        self.host = 1 - self.host
        self.warming = self.loop.call(lambda: self.world.make_pool(self.host))
        self.loop.create_task(self.warming.open())
        self.loop.turn()
        self.loop.turn()
        self.go(turns)

    @precondition(lambda self: self.warming is not None)
    @rule(abort=st.booleans(), turns=TURNS)
    def take_over(self, abort: bool, turns: int) -> None:
        pool, self.warming = self.warming, None

        def work() -> None:  # as FailoverController._take_over()
            old = self.world.queue.pool
            self.world.queue.serve_from(pool)
            if old is not None:
                self.retire(old, abort=abort)

        self.do(work, turns)

    @precondition(lambda self: not self.closed and self.warming is None)
    @rule(abort=st.booleans(), turns=TURNS)
    def fail_over(self, abort: bool, turns: int) -> None:
        self.warm(0)
        self.take_over(abort=abort, turns=turns)

    @precondition(lambda self: self.warming is not None)
    @rule(turns=TURNS)
    def stop_warming(self, turns: int) -> None:
        pool, self.warming = self.warming, None
        assert pool is not None
        self.do(lambda: self.retire(pool, abort=True), turns)

    @precondition(lambda self: not self.closed and self.world.queue.pool is not None)
    @rule(abort=st.booleans(), turns=TURNS)
    def leave(self, abort: bool, turns: int) -> None:
        def work() -> None:  # as FailoverController._leave()
            pool = self.world.queue.pool
            assert pool is not None
            self.world.queue.serve_from(None)
            self.retire(pool, abort=abort)

        self.do(work, turns)

    @precondition(lambda self: self.left)
    @rule(which=PICK, turns=TURNS)
    def cut_left(self, which: int, turns: int) -> None:
        pool = self.left[which % len(self.left)]
        self.do(lambda: self.retire(pool, abort=True), turns)

    @precondition(lambda self: not self.closed)
    @rule()
    def calm(self) -> None:
        self.calm_down()

    @precondition(lambda self: not self.closed)
    @rule(at_once=st.booleans())
    def close(self, *, at_once: bool) -> None:
        self.stop(at_once=at_once)
