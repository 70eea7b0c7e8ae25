"""A COMMIT that is not answered is resolved: nothing is lost, and nothing happens twice.

The server's rows are the judge.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import (
    AlreadyDone,
    CommitOutcomeUnknown,
    ConnectionManager,
    NotInstalled,
    Retry,
    RetrySafety,
    retry_safety,
)
from pgmoor.events import FellQuiet
from pgmoor.instruments import Instrument
from pgmoor.testing import Cluster
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import FaultProxy

KEYS = "select count(*) from pgmoor.transactions"


class Writer:
    """Inserts its name; counts its calls, and breaks something at the end of the first ones."""

    def __init__(self, *breaks: Callable[[], Any]) -> None:
        self.calls = 0
        self._breaks = breaks

    async def __call__(self, conn: Any, name: str = "x") -> int:
        self.calls += 1
        await conn.execute("insert into work (id) values (%s)", [name])
        if self.calls <= len(self._breaks):
            broken = self._breaks[self.calls - 1]()
            if broken is not None:
                await broken
        return self.calls


async def count(node: Any, name: str = "x") -> int:
    ((number,),) = await node.sql("select count(*) from work where id = %s", name)
    return int(number)


@pytest.mark.parametrize("key", [None, True, "order-7"])
@pytest.mark.parametrize("delivered", [False, True])
async def test_a_commit_that_is_lost_happens_once(
    delivered: bool, key: Any, manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    work = Writer(lambda: door.lose_commits(delivered=delivered))
    result = await manager.run(work, key=key)
    assert result == work.calls == (1 if delivered else 2)
    assert await count(alone[0]) == 1
    assert await alone[0].sql(KEYS) == [(0 if key is None else 1,)]


@pytest.mark.parametrize("key", [None, True])
async def test_commits_that_are_lost_one_after_the_other_happen_once(
    key: Any, manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    work = Writer(
        lambda: door.lose_commits(delivered=False),
        lambda: door.lose_commits(delivered=False),
        lambda: door.lose_commits(delivered=True),
    )
    assert await manager.run(work, key=key) == 3
    assert await count(alone[0]) == 1


@pytest.mark.parametrize("delivered", [False, True])
async def test_the_question_survives_the_loss_of_its_own_connection(
    delivered: bool, manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    def lose() -> None:
        door.lose_commits(delivered=delivered)
        door.cut(after=40, new=True)  # the resolver's connections break in the middle, too

    async def heal() -> None:
        await until(lambda: door.commits_lost == 1 or not door.connections)
        door.heal()

    healing = asyncio.create_task(asyncio.sleep(0))
    work = Writer(lose)
    running = asyncio.create_task(manager.run(work))
    await until(lambda: work.calls == 1)
    await heal()
    assert await running in (1, 2)
    await healing
    assert await count(alone[0]) == 1


async def test_a_session_that_waits_for_a_commit_that_never_comes_is_ended(
    manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    calls = 0

    async def vanish(conn: Any) -> int:
        """The network forgets this connection: the server waits, and its client is told."""
        nonlocal calls
        calls += 1
        await conn.execute("insert into work (id) values ('x')")
        if calls == 1:
            door.silent(new=False)
            asyncio.get_running_loop().call_later(0.05, conn.abort, "the network has forgotten it")
        return calls

    calls = 0
    assert await manager.run(vanish, timeout=10) == 2
    assert await count(alone[0]) == 1


async def test_a_block_of_transaction_ends_well_when_its_commit_was_carried_out(
    manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    work = Writer(lambda: door.lose_commits(delivered=True))
    async with manager.transaction() as conn:
        await work(conn)
    assert await count(alone[0]) == 1


async def test_a_block_of_transaction_says_that_its_commit_was_not_carried_out(
    manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    work = Writer(lambda: door.lose_commits(delivered=False))
    with pytest.raises(psycopg.OperationalError, match="rolled back") as caught:
        async with manager.transaction() as conn:
            await work(conn)
    assert retry_safety(caught.value) is RetrySafety.ROLLED_BACK
    assert await count(alone[0]) == 0


# -- the server crashes: its transaction ids are given again ---------------------------------------


async def test_an_id_that_a_crashed_server_gave_again_is_not_taken_for_ours(
    manager: Any, alone: Cluster
) -> None:
    """Without a key nobody can tell; with one, the row decides."""
    node = alone[0]
    reused = False
    # What no commit has flushed is lost in the crash, however long this test takes.
    await node.sql("alter system set wal_writer_delay = '10s'")
    await node.sql("select pg_reload_conf()")

    async def crash_and_reuse() -> None:
        nonlocal reused
        reused = False
        ((before,),) = await node.sql("select pg_current_xact_id()::text::bigint")
        await node.kill()
        await node.start()
        while True:  # until ours was given to another, which commits
            ((xid,),) = await node.sql("select pg_current_xact_id()::text::bigint")
            reused = reused or xid < before
            if xid > before:
                return

    calls = 0

    async def crash_in_commit(conn: Any) -> int:
        nonlocal calls
        calls += 1
        await conn.execute("insert into work (id) values ('x')")
        if calls == 1:
            # The COMMIT meets a dead server: the client sees that in its answer only.
            conn.has_unread = lambda: False
            await crash_and_reuse()
        return calls

    for _ in range(10):
        calls = 0
        try:
            assert await manager.run(crash_in_commit, timeout=10) == 2
        except CommitOutcomeUnknown:
            break
        assert not reused  # its id was on disk when the server crashed: then it can tell
        await node.sql("truncate work")
    assert reused
    assert await count(node) == 0

    calls = 0
    assert await manager.run(crash_in_commit, timeout=10, key=True) == 2
    assert await count(node) == 1


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_crash_and_restart_after_a_lost_commit_is_resolved_with_a_key(
    delivered: bool, manager: Any, door: FaultProxy, alone: Cluster
) -> None:
    async def restart() -> None:
        await until(lambda: door.commits_lost == 1)
        await alone[0].kill()
        await alone[0].start()

    restarting: list[asyncio.Task[None]] = []

    def lose() -> None:
        door.lose_commits(delivered=delivered)
        restarting.append(asyncio.create_task(restart()))

    work = Writer(lose)
    assert 1 <= await manager.run(work, timeout=20, key=True) <= work.calls
    await restarting[0]
    assert await count(alone[0]) == 1


# -- another server takes over ---------------------------------------------------------------------


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_promotion_after_a_lost_commit_is_resolved_with_a_key(
    delivered: bool, pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, min_size=1, max_size=1)
    await manager.install()
    await pair[1].wait_for("select to_regclass('pgmoor.transactions') is not null")

    async def promote() -> None:
        await until(lambda: doors[0].commits_lost == 1)
        if delivered:  # as a synchronous standby would have it
            await pair[1].wait_for("select exists (select from work where id = 'x')")
        await pair[0].kill()
        await pair[1].promote()

    promoting: list[asyncio.Task[None]] = []

    def lose() -> None:
        doors[0].lose_commits(delivered=delivered)
        doors[0].refuse()  # nobody is asked before the promotion
        promoting.append(asyncio.create_task(promote()))

    work = Writer(lose)
    assert await manager.run(work, timeout=20, key=True) == (1 if delivered else 2)
    await promoting[0]
    assert await count(pair[1]) == 1


@pytest.mark.parametrize("seen", [False, True])
async def test_what_a_new_primary_lacks_was_not_committed_unless_it_has_given_the_id_again(
    seen: bool, pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, min_size=1, max_size=1)
    if not seen:  # nothing of what follows reaches the standby
        await pair[1].sql("alter system set primary_conninfo = ''")
        await pair[1].sql("select pg_reload_conf()")
        await pair[0].wait_for("select not exists (select from pg_stat_replication)")

    async def promote() -> None:
        await until(lambda: doors[0].commits_lost == 1)
        if seen:  # the standby knows the id, as a later commit has flushed its traces
            await pair[0].sql("insert into work (id) values ('later')")
            await pair[1].wait_for("select exists (select from work where id = 'later')")
        await pair[0].kill()
        await pair[1].promote()  # which takes an id, and commits
        doors[1].heal()

    promoting: list[asyncio.Task[None]] = []

    def lose() -> None:
        doors[0].lose_commits(delivered=False)
        for door in doors:  # nobody is asked before the promotion
            door.refuse()
        promoting.append(asyncio.create_task(promote()))

    work = Writer(lose)
    if seen:
        assert await manager.run(work, timeout=20) == 2
    else:
        with pytest.raises(CommitOutcomeUnknown):
            await manager.run(work, timeout=20)
    await promoting[0]
    assert await count(pair[1]) == seen


@pytest.mark.parametrize("idempotent", [False, True])
async def test_nobody_can_tell_on_another_timeline_without_a_key(
    idempotent: bool, pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, min_size=1, max_size=1)

    async def promote() -> None:
        await until(lambda: doors[0].commits_lost == 1)
        await pair[1].wait_for("select exists (select from work where id = 'x')")
        await pair[0].kill()
        await pair[1].promote()

    promoting: list[asyncio.Task[None]] = []

    def lose() -> None:
        doors[0].lose_commits(delivered=True)
        doors[0].refuse()
        promoting.append(asyncio.create_task(promote()))

    work = Writer(lose)
    retry = Retry(idempotent=idempotent)
    if idempotent:
        assert await manager.run(work, timeout=20, retry=retry) == 2
    else:
        with pytest.raises(CommitOutcomeUnknown):
            await manager.run(work, timeout=20, retry=retry)
    await promoting[0]
    assert await count(pair[1]) == 1 + idempotent


async def test_when_no_server_comes_back_the_outcome_is_unknown(
    alone: Cluster, door: FaultProxy, moor: Callable[..., Any]
) -> None:
    manager = await moor(door, min_size=1, max_size=1)
    await manager.install()

    async def lose() -> None:
        door.lose_commits(delivered=True)
        door.refuse()

    for key in (None, True):
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await manager.run(Writer(lose), timeout=1, key=key)
        assert retry_safety(caught.value) is RetrySafety.UNKNOWN
        door.heal()
        await manager.wait_ready()


# -- synchronous replication -----------------------------------------------------------------------


@pytest.fixture
async def synchronous() -> AsyncIterator[Cluster]:
    async with Cluster(standbys=1, synchronous=True) as cluster:
        await cluster[0].sql("create table work (id text)")
        yield cluster


WAITING = "exists (select from pg_stat_activity where wait_event = 'SyncRep' and query ~* '{}')"


@pytest.mark.parametrize("key", [None, True])
async def test_a_commit_that_no_standby_has_is_not_taken_for_done(
    key: Any, synchronous: Cluster, moor: Callable[..., Any]
) -> None:
    """A session that is ended while it waits for a standby has committed on its server alone."""
    primary, standby = synchronous
    manager = await moor(primary)
    await manager.install()
    await standby.freeze()
    running = asyncio.create_task(manager.run(Writer(), timeout=30, key=key))
    local = "set synchronous_commit = local; "
    await primary.wait_for(f"select {WAITING.format('^commit')}")
    await primary.sql(
        f"{local}select pg_terminate_backend(pid) from pg_stat_activity"
        " where wait_event = 'SyncRep' and query ~* '^commit'"
    )
    await primary.wait_for(f"select {WAITING.format('pg_logical_emit_message')}")
    assert await count(primary) == 1
    assert not running.done()
    await standby.thaw()
    assert await running == 1
    assert await count(primary) == 1


# -- keys ------------------------------------------------------------------------------------------


async def test_a_key_is_carried_out_once_across_managers(
    manager: Any, alone: Cluster, moor: Callable[..., Any]
) -> None:
    other = await moor(*alone)
    assert await manager.run(Writer(), key="order-7") == 1
    for each in (manager, other):
        work = Writer()
        with pytest.raises(AlreadyDone) as caught:
            await each.run(work, key="order-7")
        assert caught.value.key == "order-7"
        assert "order-7" not in str(caught.value)
        assert work.calls == 0
    assert await other.run(Writer(), key="order-8") == 1
    assert await count(alone[0]) == 2


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_of_two_callers_at_once_one_carries_it_out(
    isolation: Any, manager: Any, alone: Cluster
) -> None:
    both = asyncio.Barrier(2)

    async def slowly(conn: Any) -> None:
        await conn.execute("insert into work (id) values ('x')")
        await conn.execute("select pg_sleep(0.1)")

    async def call() -> str:
        await both.wait()
        try:
            await manager.run(slowly, key="order-7", isolation=isolation)
        except AlreadyDone:
            return "already done"
        return "done"

    assert sorted(await asyncio.gather(call(), call())) == ["already done", "done"]
    assert await count(alone[0]) == 1


async def test_when_the_first_of_two_callers_fails_the_second_carries_it_out(
    manager: Any, alone: Cluster
) -> None:
    begun = asyncio.Event()

    async def fail(conn: Any) -> None:
        begun.set()
        await conn.execute("select pg_sleep(0.1)")
        raise ValueError

    first = asyncio.create_task(manager.run(fail, key="order-7"))
    await begun.wait()
    assert await manager.run(Writer(), key="order-7") == 1
    with pytest.raises(ValueError):  # noqa: PT011  it has no text
        await first
    assert await count(alone[0]) == 1


@pytest.mark.parametrize("key", ["o'Brien", "back\\slash", "%s {} $1 -- ; commit", "schlüssel"])
async def test_a_key_may_hold_any_character(key: str, manager: Any, alone: Cluster) -> None:
    assert await manager.run(Writer(), key=key) == 1
    assert await alone[0].sql("select key from pgmoor.transactions") == [(key,)]


async def test_without_the_table_the_error_says_how_to_make_it(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    await alone[0].sql("drop schema if exists pgmoor cascade")
    with pytest.raises(NotInstalled, match=r"manager\.install\(\)"):
        await manager.run(Writer(), key=True)
    assert await count(alone[0]) == 0
    await asyncio.gather(manager.install(), manager.install())
    await manager.install()
    assert await manager.run(Writer(), key=True) == 1


async def test_old_keys_are_removed_in_the_background(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, keep_keys=0.5)
    await alone[0].sql("drop schema if exists pgmoor cascade")
    await manager.install()
    await alone[0].sql(
        "insert into pgmoor.transactions select 'old' || n, gen_random_uuid(),"
        " now() - interval '1 day' from generate_series(1, 1200) n"
    )
    await manager.run(Writer(), key="new")
    await alone[0].wait_for("select not exists (select from pgmoor.transactions)")


async def test_the_removal_of_old_keys_keeps_no_manager_awake(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, keep_keys=0.2, quiet_after=0.5)
    await alone[0].sql("drop schema if exists pgmoor cascade")
    await manager.install()
    await manager.run(Writer(), key=True)

    await recorder(manager).wait_for(FellQuiet)
    await alone[0].sql(
        "insert into pgmoor.transactions values ('old', gen_random_uuid(), '2020-1-1')"
    )
    await asyncio.sleep(0.3)  # several times as long as it rests

    assert manager.snapshot().state == "quiet"
    assert await alone[0].sql("select key from pgmoor.transactions where key = 'old'")


async def test_a_server_without_transaction_ids_is_not_asked_for_them(
    manager: Any, alone: Cluster, door: FaultProxy, moor: Callable[..., Any]
) -> None:
    """As poolers and databases are that speak PostgreSQL's protocol only."""
    await alone[0].sql("create role plain login")
    await alone[0].sql("grant all on work to plain")
    await alone[0].sql("revoke execute on function pg_control_system() from public")
    try:
        address = f"{door.host}:{door.port}"
        async with ConnectionManager("user=plain dbname=postgres", hosts=[address]) as plain:
            assert await plain.run(Writer()) == 1
            with pytest.raises(CommitOutcomeUnknown):
                await plain.run(Writer(lambda: door.lose_commits(delivered=True)))
    finally:
        await alone[0].sql("grant execute on function pg_control_system() to public")
        await alone[0].sql("drop owned by plain")
        await alone[0].sql("drop role plain")


# -- figures ---------------------------------------------------------------------------------------


async def test_repeats_and_resolved_commits_are_counted(manager: Any, door: FaultProxy) -> None:
    seen: list[str] = []

    class Noted(Instrument):
        def repeated(self) -> None:
            seen.append("repeated")

        def repeat_refused(self) -> None:
            seen.append("refused")

        def resolved(self, outcome: str) -> None:
            seen.append(outcome)

    manager.instrument(Noted())
    before = manager.snapshot().repeats
    await manager.run(
        Writer(
            lambda: door.lose_commits(delivered=False),
            lambda: door.lose_commits(delivered=True),
        )
    )
    assert seen == ["rolled_back", "repeated", "committed"]
    after = manager.snapshot().repeats
    assert (after.repeats, after.refused) == (1, 0)
    assert 0.5 < before.left - after.left < 1

    conflicts = [_conflict] * 200
    with pytest.raises(psycopg.errors.SerializationFailure):
        await manager.run(Writer(*conflicts), retry=Retry(backoff_base=1e-4, backoff_cap=1e-4))
    assert manager.snapshot().repeats.refused == 1
    assert seen[-1] == "refused"


def _conflict() -> None:
    raise psycopg.errors.SerializationFailure
