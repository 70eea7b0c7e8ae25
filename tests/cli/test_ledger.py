from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgmoor import ConnectionManager
from pgmoor._cli.demo.board import Board
from pgmoor._cli.demo.lane import Lane
from pgmoor._cli.demo.ledger import Audit, Ledger, audit, create_sql
from pgmoor._cli.demo.results import SceneResult
from pgmoor._cli.demo.scenes import QUICK
from pgmoor._cli.demo.stores import ThroughPgmoor
from pgmoor._cli.demo.writers import Writers
from pgmoor._cli.story import Story
from pgmoor.testing import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster, Node


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is true; the ledger has no event to wait for."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_more(ledger: Ledger, rows: int) -> None:
    wanted = len(ledger.acknowledged) + rows
    await until(lambda: len(ledger.acknowledged) >= wanted)


@pytest.fixture
async def server(alone: Cluster) -> AsyncIterator[Node]:
    """One server with the demo's table, empty."""
    await alone[0].sql("DROP TABLE IF EXISTS pgmoor_demo")
    await alone[0].sql(create_sql())
    yield alone[0]
    await alone[0].sql("DROP TABLE pgmoor_demo")


async def test_an_audit_finds_rows_that_are_lost_or_written_twice(server: Node) -> None:
    await server.sql("INSERT INTO pgmoor_demo VALUES (1, 0, 1), (2, 0, 2), (2, 0, 2), (3, 0, 3)")

    found = await asyncio.to_thread(audit, server.conninfo(), {1, 2, 4})

    assert found == Audit(rows=4, lost=frozenset({4}), twice=frozenset({2}))
    assert not found.clean


async def test_no_row_is_lost_or_doubled_while_sessions_are_terminated(
    alone: Cluster, server: Node
) -> None:
    ledger = Ledger(4)
    async with (
        ConnectionManager(server.conninfo()) as manager,
        Writers(ThroughPgmoor(manager), ledger, 4) as writers,
    ):
        for _ in range(5):
            await until_more(ledger, 11)
            await Stage(alone).end_sessions()
        ended = monotonic()
        await until(lambda: ledger.recovered_at(ended) is not None)
        await writers.finish()

    found = await asyncio.to_thread(audit, server.conninfo(), ledger.acknowledged)

    assert found.clean
    assert found.rows == len(ledger.acknowledged) > 50


async def test_a_row_whose_commit_was_not_acknowledged_is_not_written_again(
    server: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(1)
    async with ConnectionManager(server.conninfo()) as manager:
        inner = manager.connection
        calls = 0

        class AnswerLost:
            async def __aenter__(self) -> object:
                self.checkout = inner()
                return await self.checkout.__aenter__()

            async def __aexit__(self, *_: object) -> None:
                await self.checkout.__aexit__(None, None, None)
                raise psycopg.OperationalError("the answer to COMMIT was lost")

        def connection() -> object:
            nonlocal calls
            calls += 1
            return AnswerLost() if calls == 1 else inner()

        monkeypatch.setattr(manager, "connection", connection)
        async with Writers(ThroughPgmoor(manager), ledger, 1) as writers:
            await until(lambda: len(ledger.acknowledged) > 2)
            await writers.finish()

    found = await asyncio.to_thread(audit, server.conninfo(), ledger.acknowledged)

    assert [failure.error for failure in ledger.failures] == ["OperationalError"]
    assert found.clean
    assert found.rows == len(ledger.acknowledged)


def test_recovery_needs_a_commit_of_each_writer_begun_after_the_fault_and_the_last_error() -> None:
    ledger = Ledger(2)
    fault = monotonic()
    ledger.acknowledge(1, 0, fault)
    ledger.acknowledge(2, 1, fault - 0.001)
    assert ledger.recovered_at(fault) is None

    ledger.acknowledge(3, 1, fault)
    assert ledger.recovered_at(fault) is not None

    ledger.fail(0, psycopg.OperationalError())
    assert ledger.recovered_at(fault) is None


def test_rates_count_the_commits_of_each_step() -> None:
    ledger = Ledger(1)
    now = monotonic()
    for row in range(3):
        ledger.acknowledge(row, 0, now)

    assert ledger.rates(now - 1, 1.0, 3) == [0, 3, 0]


@pytest.mark.parametrize(
    ("back", "lost", "twice", "good"),
    [(0.1, 0, 0, True), (None, 0, 0, False), (0.1, 1, 0, False), (0.1, 0, 1, False)],
)
def test_the_demo_is_good_only_if_writing_recovered_and_no_row_was_lost_or_doubled(
    back: float | None, lost: int, twice: int, good: bool
) -> None:
    fine = SceneResult("a", 0.1, 0.1, failed=3, lost=0, twice=0)
    other = SceneResult("b", back, back, failed=3, lost=lost, twice=twice)
    found = Audit(rows=9, lost=frozenset(range(lost)), twice=frozenset(range(twice)))

    lane = Lane("pgmoor", Ledger(1), 15, results=[fine, other], audit=found)
    board = Board(Story(), lane, QUICK, 1, 18)

    assert board.good is good
