"""The soak itself: a seed repeats its schedule, and violations are found."""

from __future__ import annotations

import asyncio
from itertools import islice
from time import monotonic
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg.errors import QueryCanceled, ReadOnlySqlTransaction

from pgmoor import ManagerClosed, PoolExhausted
from pgmoor.health import PoolFigures
from soak import loops
from soak.journal import Journal
from soak.ledger import Fate, Ledger, compare, strays
from soak.promotions import TURN, Promotion
from soak.schedule import SERVER, Episode, Fault, Kind, Where, episodes, manager_settings
from soak.tolerance import Tolerance
from soak.users import Users, allowed
from soak.watch import SLACK, Bounds, Watch


def test_a_seed_repeats_its_schedule_and_settings() -> None:
    assert list(islice(episodes(7), 50)) == list(islice(episodes(7), 50))
    assert list(islice(episodes(7), 50)) != list(islice(episodes(8), 50))
    assert manager_settings(7) == manager_settings(7)


def test_seeds_choose_among_all_event_loops_that_there_are() -> None:
    assert {loops.choose(seed) for seed in range(50)} == set(loops.available())
    assert loops.choose(7) == loops.choose(7)


def test_every_fault_comes_up_and_servers_fail_one_at_a_time() -> None:
    played = list(islice(episodes(1), 500))
    kinds = {fault.kind for episode in played for fault in episode.faults}
    kinds |= {episode.takeover.kind for episode in played if episode.takeover}
    assert kinds == set(Kind)
    for episode in played:
        of_servers = [fault for fault in episode.faults if fault.kind in SERVER]
        assert len(of_servers) <= (0 if episode.takeover else 1), str(episode)


def test_the_ledger_finds_lost_duplicate_and_uncommitted_rows() -> None:
    ledger = Ledger()
    kept, lost, unknown, denied = (ledger.begin("writer-0") for _ in range(4))
    for row in (kept, lost, unknown):
        row.committing(port=1)
    for row in (kept, lost):
        ledger.acknowledged(row)

    good = compare(ledger.rows, [kept.key, lost.key, unknown.key])
    bad = compare(ledger.rows, [kept.key, kept.key, denied.key, "nobody's"])

    assert (good.lost, good.twice, good.uncommitted) == ([], [], [])
    assert (bad.lost, bad.twice) == ([lost.key], [kept.key])
    assert bad.uncommitted == [denied.key, "nobody's"]
    assert ledger.count() == {Fate.ACKNOWLEDGED: 2, Fate.UNKNOWN: 1, Fate.DENIED: 1}


def test_a_commit_that_no_standby_confirmed_is_not_taken_for_acknowledged() -> None:
    tolerance = Tolerance()
    ledger = Ledger(tolerance)
    tolerance.begin(QueryCanceled, unconfirmed=True)
    during = ledger.begin("writer-0")
    tolerance.end()
    after = ledger.begin("writer-0")
    for row in (during, after):
        row.committing(port=1)
        ledger.acknowledged(row)

    assert (during.fate, after.fate) == (Fate.UNKNOWN, Fate.ACKNOWLEDGED)
    assert ledger.newest == {"writer-0": after.key}


def test_an_error_is_allowed_to_what_began_while_its_fault_stood() -> None:
    tolerance = Tolerance()
    tolerance.begin(QueryCanceled)
    during = monotonic()
    tolerance.end()

    assert tolerance.covers(QueryCanceled(), during)
    assert not tolerance.covers(QueryCanceled(), monotonic() + 1)
    assert not tolerance.covers(RuntimeError(), during)


def test_an_episode_is_harmless_if_all_its_faults_are() -> None:
    def fault(kind: Kind) -> Fault:
        return Fault(kind, Where.PRIMARY, 0.0, 1.0, 0.5)

    def harmless(*kinds: Kind) -> bool:
        return Episode(1, None, tuple(map(fault, kinds))).harmless

    assert harmless(Kind.SLOW, Kind.FULL)
    assert not harmless(Kind.REFUSE)  # a host that lends nothing any more is left
    assert not harmless(Kind.SLOW, Kind.KILL)


def test_rows_that_a_stale_server_got_too_late_are_strays() -> None:
    ledger = Ledger()
    early, late = ledger.begin("writer-0"), ledger.begin("writer-0")
    early.sent_at, late.sent_at = 1.0, 3.0

    assert strays(ledger.rows, [early.key, late.key, "nobody's"], since=2.0) == [late.key]


def test_an_older_primary_is_excused_until_the_promotion_is_known() -> None:
    promotion = Promotion(began=10.0, timeline=2)
    assert not promotion.excuses(9.0)
    assert promotion.excuses(11.0)
    promotion.known_at = 12.0
    assert promotion.excuses(12.0)
    assert not promotion.excuses(12.0 + 2 * TURN)


async def test_what_takes_too_long_is_reported_once_and_excused_time_does_not_count() -> None:
    reports: list[str] = []
    watch = Watch(lambda rule, text: reports.append(text))
    watching = asyncio.create_task(watch.run())
    with watch.operation("quick-0") as quick, watch.operation("slow-0") as slow:
        quick.at("statement", 0.3 - SLACK)
        slow.at("statement", 0.1 - SLACK)
        with watch.excused("nobody's fault"):
            await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            while not reports:  # noqa: ASYNC110  no event announces it
                await asyncio.sleep(0.01)
        quick.at("rest", 1.0)
    watching.cancel()

    assert len(reports) == 1
    assert reports[0].startswith("slow-0: statement takes 0.1")
    assert "test_what_takes_too_long" in reports[0]  # where it waits


async def test_nothing_begins_in_a_pause_that_follows_at_once() -> None:
    journal, tolerance = Journal(), Tolerance()
    watch, ledger = Watch(journal.violated), Ledger(tolerance)
    nobody: Any = None
    users = Users(
        *(1, nobody, nobody, None, [], Bounds.of(manager_settings(1))),
        *(ledger, watch, journal, nobody, tolerance, False),
    )
    acts = 0

    async def act(*_: object) -> None:
        nonlocal acts
        acts += 1

    users.start("user", act, 0.0)
    while not acts:  # noqa: ASYNC110  no event announces it
        await asyncio.sleep(0)
    assert await users.pause(1.0)
    for _ in range(5):
        await asyncio.sleep(0)
    before = acts
    users.resume()
    assert await users.pause(1.0)
    for _ in range(5):
        await asyncio.sleep(0)
    during = acts
    await users.end(1.0)

    assert during == before


def test_bounds_follow_from_settings() -> None:
    settings = manager_settings(3)
    slower = {**settings, "stall_timeout": settings["stall_timeout"] + 1}
    assert Bounds.of(slower).statement == Bounds.of(settings).statement + 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError(), True),
        (ReadOnlySqlTransaction(), True),
        (PoolExhausted(1.0, PoolFigures()), True),
        (QueryCanceled(), False),
        (psycopg_pool.PoolClosed(), False),
        (ManagerClosed(), False),
        (psycopg.InterfaceError(), False),
        (RuntimeError(), False),
    ],
)
def test_some_errors_are_allowed_to_reach_callers_and_no_others(
    error: Exception, expected: bool
) -> None:
    assert allowed(error) is expected
