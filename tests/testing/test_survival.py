"""`under_faults`: its report on programs that survive faults, and on programs that don't."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import ConnectionManager
from pgmoor.testing import (
    CRASH,
    FAULTS,
    FREEZE,
    RESET,
    RESTART,
    SESSIONS_ENDED,
    SILENCE,
    Cluster,
    Fault,
    Outcome,
    Report,
    Stage,
    _survival,
    under_faults,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def insert(manager: ConnectionManager) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        async with manager.connection(timeout=10) as conn:
            await conn.execute("insert into work (id) values ('x')")

    return work


async def test_a_surviving_program_is_reported_and_the_servers_are_repaired(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, max_size=4)
    report = await under_faults(insert(manager), pair, [CRASH, SILENCE, RESET], proxies=doors)

    report.assert_survived(within=8, errors=(psycopg.OperationalError,), max_errors=8)
    for outcome in report:
        assert outcome.succeeded >= 8
        assert 0 < outcome.longest < 8
    assert sorted([await node.sql("select pg_is_in_recovery()") for node in pair]) == [
        [(False,)],
        [(True,)],
    ]
    written = (await pair[0].sql("select count(*) from work"))[0][0]
    assert written >= sum(outcome.succeeded for outcome in report) / 2


async def test_a_program_that_never_recovers_is_reported(pair: Cluster) -> None:
    conn = await psycopg.AsyncConnection.connect(pair[0].conninfo(), autocommit=True)

    async def work() -> None:
        await conn.execute("select 1")  # one connection for ever

    report = await under_faults(work, pair, [SESSIONS_ENDED], timeout=1)
    await conn.close()

    (outcome,) = report
    assert outcome.recovered_after is None
    assert outcome.exceptions["OperationalError"] >= 1
    with pytest.raises(AssertionError, match="did not work again within 5 s") as caught:
        report.assert_survived(within=5)
    assert "not in time" in str(caught.value)


async def test_a_call_that_ignores_its_cancellation_is_reported_as_hung(
    alone: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_survival, "CANCEL_TIMEOUT", 0.2)
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    struck = False

    async def work() -> None:
        if struck:
            await deaf()

    async def strike(_: Stage) -> None:
        nonlocal struck
        struck = True

    faults = [Fault("the program goes deaf", strike)]
    try:
        report = await under_faults(work, alone, faults, callers=2, timeout=0.2)
    finally:
        release.set()

    assert [outcome.hung for outcome in report] == [2]
    with pytest.raises(AssertionError, match="2 calls hung"):
        report.assert_survived(within=5)


async def test_work_that_fails_before_the_fault_is_an_error(alone: Cluster) -> None:
    async def work() -> None:
        raise LookupError("nothing here")

    with pytest.raises(AssertionError, match=r"before .*restarted.*LookupError: nothing here"):
        await under_faults(work, alone, [RESTART], timeout=0.2)


async def test_a_fault_that_needs_a_standby_or_proxies_is_refused_without_them(
    pair: Cluster, alone: Cluster
) -> None:
    async def work() -> None: ...

    with pytest.raises(ValueError, match=r"frozen.* needs a standby"):
        await under_faults(work, alone, [FREEZE])
    with pytest.raises(ValueError, match=r"reset.* needs proxies"):
        await under_faults(work, pair, [RESET])
    with pytest.raises(ValueError, match="one for each server"):
        Stage(pair, [None])  # type: ignore[list-item]
    assert [fault for fault in FAULTS if fault.possible(Stage(alone, ()))] == [
        fault for fault in FAULTS if not fault.standby and not fault.proxy
    ]


def test_a_report_prints_a_table() -> None:
    report = Report(
        (
            Outcome("crash", 0.25, 120, 0.3, 0, [OSError("x"), OSError("y"), KeyError("z")]),
            Outcome("cut", None, 3, 9.0, 1),
        )
    )
    assert str(report).splitlines() == [
        "fault  works again after  succeeded  failed  longest call  exceptions",
        "-----  -----------------  ---------  ------  ------------  ---------------------",
        "crash  0.25 s             120        3       0.30 s        2 OSError, 1 KeyError",
        "cut    not in time        3          0       9.00 s        none; 1 hung",
    ]


def test_assert_survived_checks_the_time_the_errors_and_their_number() -> None:
    report = Report((Outcome("crash", 0.5, 10, 0.3, 0, [OSError("gone")]),))
    report.assert_survived(within=1)
    report.assert_survived(within=1, errors=(OSError,), max_errors=1)
    with pytest.raises(AssertionError, match="crash: OSError: gone"):
        report.assert_survived(within=1, errors=(KeyError,))
    with pytest.raises(AssertionError, match="1 calls failed"):
        report.assert_survived(within=1, max_errors=0)
    with pytest.raises(AssertionError, match=r"within 0\.4 s"):
        report.assert_survived(within=0.4)


async def test_recovery_counts_only_calls_after_the_fault_took_effect(
    alone: Cluster,
) -> None:
    down = asyncio.Event()

    async def work() -> None:
        if down.is_set():
            raise ConnectionError

    async def strike(_: Stage) -> None:
        await asyncio.sleep(0.1)  # calls still succeed
        down.set()
        asyncio.get_running_loop().call_later(0.4, down.clear)

    (outcome,) = await under_faults(work, alone, [Fault("down for 0.4 s", strike)])
    assert outcome.recovered_after is not None
    assert 0.5 <= outcome.recovered_after < 2


async def test_a_synchronous_primary_without_standbys_accepts_commits_until_it_is_repaired() -> (
    None
):
    async with (
        Cluster(standbys=1, synchronous=True) as cluster,
        ConnectionManager(cluster.conninfo(), min_size=1, max_size=2) as manager,
    ):
        await cluster[0].sql("create table work (id text)")
        report = await under_faults(insert(manager), cluster, [CRASH, CRASH], callers=2)

        report.assert_survived(within=8)
        await cluster[0].wait_for("select current_setting('synchronous_standby_names') <> ''")
