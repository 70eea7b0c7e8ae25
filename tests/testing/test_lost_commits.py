"""`FaultProxy.lose_commits()`: which COMMITs are struck, and what becomes of them.

The server says what was committed; the client what it was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor.testing import COMMIT_NOT_DELIVERED, COMMIT_UNANSWERED, FaultProxy, under_faults
from pgmoor.testing._wire import CommitFault, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pgmoor.testing import Cluster

INSERT = "insert into work (id) values ('x')"


@pytest.fixture
async def door(alone: Cluster) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(alone[0].host, alone[0].port) as proxy:
        yield proxy


async def connect(door: FaultProxy, **settings: Any) -> psycopg.AsyncConnection[Any]:
    conninfo = f"host={door.host} port={door.port} user=postgres dbname=postgres"
    return await psycopg.AsyncConnection.connect(conninfo, **settings)


async def simple(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.execute(INSERT)
    await conn.commit()


async def at_once(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.set_autocommit(True)
    await conn.execute(f"begin; {INSERT};\n  COMMIT".encode())


async def extended(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.execute(INSERT)
    cursor = psycopg.AsyncRawCursor(conn)
    await cursor.execute("end", [])


async def prepared(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.execute(INSERT)
    await conn.execute("commit", prepare=True)


async def pipelined(conn: psycopg.AsyncConnection[Any]) -> None:
    async with conn.pipeline():
        await conn.execute(INSERT)
        await conn.commit()


WAYS = [simple, at_once, extended, prepared, pipelined]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delivered", [False, True])
async def test_a_commit_is_lost_before_or_after_the_server_carries_it_out(
    way: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]],
    delivered: bool,
    alone: Cluster,
    door: FaultProxy,
) -> None:
    conn = await connect(door)
    pid = conn.info.backend_pid
    door.lose_commits(delivered=delivered)
    with pytest.raises(psycopg.OperationalError):
        await way(conn)

    assert door.commits_lost == 1
    await alone[0].wait_for(
        "select not exists (select from pg_stat_activity"
        f" where pid = {pid} and backend_xid is not null)"
    )
    assert len(await alone[0].sql("select id from work")) == delivered
    await conn.close()


@pytest.mark.parametrize("delivered", [False, True])
async def test_only_so_many_commits_are_lost_and_heal_ends_it(
    delivered: bool, alone: Cluster, door: FaultProxy
) -> None:
    door.lose_commits(2, delivered=delivered)
    lost = 0
    for _ in range(3):
        async with await connect(door) as conn:
            await conn.execute(INSERT)
            try:
                await conn.commit()
            except psycopg.OperationalError:
                lost += 1
    assert lost == door.commits_lost == 2

    door.lose_commits(None, delivered=delivered)
    door.heal()
    async with await connect(door) as conn:
        await simple(conn)
    assert door.commits_lost == 2


async def test_other_statements_and_rollbacks_pass(alone: Cluster, door: FaultProxy) -> None:
    door.lose_commits(None, delivered=False)
    async with await connect(door, autocommit=True) as conn:
        await conn.execute("select 'commit'")
        await conn.execute("create table if not exists commits (id text)")
        await conn.execute("begin")
        await conn.execute(INSERT)
        await conn.execute("rollback")
    assert door.commits_lost == 0


async def test_round_trips_are_counted(door: FaultProxy) -> None:
    async with await connect(door, autocommit=True) as conn:
        before = door.round_trips
        await conn.execute("select 1")
        await conn.execute("select %s::int", [1])
        assert door.round_trips - before == 2
        async with conn.pipeline():
            await conn.execute("select 1")
            await conn.execute("select 2")
        assert door.round_trips - before == 3


def fault(*, delivered: bool) -> CommitFault:
    made = CommitFault()
    made.arm(None, delivered=delivered)
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_are_found_however_the_bytes_are_cut(size: int) -> None:
    startup = (8).to_bytes(4) + (196608).to_bytes(4)
    insert = b"Q" + (10).to_bytes(4) + b"insert"
    commit = b"Q" + (11).to_bytes(4) + b"COMMIT\0"
    data = startup + insert + commit
    wire = Wire(fault(delivered=False))
    passed = b""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        cut = wire.up(part)
        passed += part[:cut]
        if cut is not None:
            break
    assert passed.startswith(startup + insert)
    assert len(passed) < len(data)


def test_bytes_that_are_not_postgresqls_or_are_encrypted_pass() -> None:
    wire = Wire(fault(delivered=False))
    assert wire.up(b"GET / HTTP/1.1\r\n") is None
    assert wire.up(b"Q" + (11).to_bytes(4) + b"COMMIT\0") is None

    wire = Wire(fault(delivered=False))
    assert wire.up((8).to_bytes(4) + (80877103).to_bytes(4)) is None
    assert wire.down(b"S") is None
    assert wire.up(b"Q" + (11).to_bytes(4) + b"COMMIT\0") is None


async def test_a_programs_callers_meet_both_faults(alone: Cluster, door: FaultProxy) -> None:
    async def work() -> None:
        async with await connect(door) as conn:
            await simple(conn)

    faults = [COMMIT_NOT_DELIVERED, COMMIT_UNANSWERED]
    report = await under_faults(work, alone, faults, proxies=[door], callers=2)
    assert [len(outcome.errors) for outcome in report] == [1, 1]
    report.assert_survived(within=10)
