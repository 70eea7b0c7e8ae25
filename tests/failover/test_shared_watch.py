"""Managers of one cluster share its probes, and no manager's own trouble is another's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager, HostWatch, NoHostAvailable
from pgmoor._core.dialling import login_throttle
from pgmoor._core.hosts import probe_pace
from pgmoor.events import Failover, HostDown, OutageEnded, OutageStarted, RoleChanged
from servers import port_of
from support import both_loops, recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pgmoor._core.hosts.host import HostState
    from pgmoor.testing import Cluster, Node

SESSIONS = "select count(*) from pg_stat_activity where application_name = 'shared'"
MANY = 8
TROUBLE = (HostDown, OutageStarted, Failover, RoleChanged)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a server that rejects us again soon."""
    monkeypatch.setattr(probe_pace, "REJECTED_INTERVAL", 0.2)
    monkeypatch.setattr(login_throttle, "RETRY_INTERVAL", 0.2)


@asynccontextmanager
async def databases(cluster: Cluster, *names: str) -> AsyncIterator[None]:
    for name in names:
        await cluster[0].sql(f"drop database if exists {name} with (force)")
        await cluster[0].sql(f"create database {name}")
        for node in cluster:
            await node.wait_for(f"select exists (select from pg_database where datname = '{name}')")
    yield
    for name in names:
        await cluster[0].sql(f"drop database if exists {name} with (force)")


async def sessions(node: Node, count: int) -> None:
    """Wait until the server has so many sessions of ours."""
    await node.wait_for(f"select ({SESSIONS}) = {count}")


def clients_of(manager: Any) -> list[Any]:
    return list(manager._runtime.probing._clients.values())


def share(*managers: Any) -> bool:
    """Return whether all these managers have each of their hosts asked together."""
    first = clients_of(managers[0])
    return bool(first) and all(
        [client.probe for client in clients_of(manager)] == [client.probe for client in first]
        for manager in managers
    )


def lead(manager: Any) -> None:
    """Have this manager's sessions asked for all."""
    for client in clients_of(manager):
        while client.probe.clients[0] is not client:
            client.probe.pass_over(client.probe.clients[0])


async def opened(moor: Callable[..., Any], servers: Any, *names: str, **settings: Any) -> list[Any]:
    """Open a manager for each database, and wait until all share."""
    values = {"min_size": 1, "max_size": 2, "health_interval": 0.1, **settings}
    kwargs = {"application_name": "shared", **values.pop("kwargs", {})}
    managers = [await moor(*servers, kwargs={**kwargs, "dbname": name}, **values) for name in names]
    for manager in managers:
        await manager.wait()
    await until(lambda: share(*managers))
    return managers


def assert_calm(*managers: Any) -> None:
    for manager in managers:
        assert not [event for event in recorder(manager).events if isinstance(event, TROUBLE)]
        assert manager.snapshot().ready


# -- sharing -------------------------------------------------------------------------------------


@both_loops
async def test_each_host_has_one_probe_session_and_a_failover_moves_every_manager(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    managers = await opened(moor, pair, *["postgres"] * MANY, min_size=0)
    for node in pair:
        await sessions(node, 1)
    await answers_cause_no_decision(managers)
    await pair[0].kill()
    await pair[1].promote()
    assert await asyncio.gather(*map(port_of, managers)) == [pair[1].port] * MANY
    for manager in managers:
        assert len(recorder(manager).of(Failover)) == 1


async def answers_cause_no_decision(managers: Sequence[Any]) -> None:
    """Wait for some more answers of all hosts, which are recorded and cause nothing else."""
    evidences = [manager._runtime.live.evidence for manager in managers]

    def states() -> list[HostState]:
        return [state for evidence in evidences for state in evidence.table]

    await until(lambda: all(evidence.at_rest for evidence in evidences))
    decided: list[str] = []
    before = [state.asked_at for state in states()]
    with pytest.MonkeyPatch.context() as patch:
        for manager in managers:
            patch.setattr(manager._runtime.controller, "_decide", lambda: decided.append("once"))
        await until(
            lambda: all(now.asked_at > at + 0.2 for now, at in zip(states(), before, strict=True))
        )
    assert not decided


async def test_a_manager_shares_with_those_that_reach_the_hosts_alike_or_as_it_is_told(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    first, second = await opened(moor, alone, "postgres", "template1")
    other = await moor(*alone, kwargs={"options": "-c work_mem=1MB"}, min_size=1)
    own = await moor(*alone, watch=HostWatch(), min_size=1)
    slower = await moor(*alone, health_timeout=2, min_size=1)
    watch = HostWatch()
    told = [
        await moor(*alone, kwargs={"sslmode": mode}, watch=watch) for mode in ("allow", "prefer")
    ]
    for manager in (other, own, slower, *told):
        await manager.wait()
    await until(lambda: share(*told))
    assert share(first, second)
    assert not any(share(first, manager) for manager in (other, own, slower, *told))

    async def elsewhere() -> bool:
        async with ConnectionManager(alone.conninfo(), watch=watch, min_size=1) as there:
            await there.wait()
            return share(there, told[0])

    assert not await asyncio.to_thread(lambda: asyncio.run(elsewhere()))  # in another event loop


async def test_a_sibling_for_another_database_has_a_pool_of_its_own(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    async with databases(alone, "tenant_7"):
        manager = await moor(*alone, watch=HostWatch(), name="app", min_size=1)
        async with manager.for_database("tenant_7", max_size=3) as sibling:
            await manager.wait()
            async with sibling.connection() as conn, manager.connection():
                assert conn.info.dbname == "tenant_7"
            assert (sibling.name, sibling.max_size) == ("app-tenant_7", 3)
            assert sibling.min_size == manager.min_size
            await until(lambda: share(manager, sibling))


# -- what concerns one database or role ----------------------------------------------------------


async def test_a_dropped_database_moves_nobody_else(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    async with databases(pair, "doomed", "fine"):
        names = ("doomed", "fine", "postgres")
        doomed, *others = await opened(moor, pair, *names, when_down="fail")
        lead(doomed)
        for _ in range(2):  # its own session is asked for all, and then one of the others'
            recorder(doomed).events.clear()
            await pair[0].sql("drop database doomed with (force)")
            await recorder(doomed).wait_for(OutageStarted)
            with pytest.raises(NoHostAvailable, match="does not exist"):
                await doomed.getconn()
            assert await port_of(others[0]) == pair[0].port
            await pair[0].sql("create database doomed")
            await recorder(doomed).wait_for(OutageEnded)
            assert await port_of(doomed) == pair[0].port
            await until(lambda: share(doomed, *others))
        assert_calm(*others)


async def test_a_role_or_a_database_that_may_not_log_in_moves_nobody_else(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    node = alone[0]
    await node.sql("drop role if exists guest")
    await node.sql("create role guest login superuser")
    end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where"
    async with databases(alone, "shut"):
        (guest,) = await opened(moor, alone, "postgres", kwargs={"user": "guest"})
        shut, *others = await opened(moor, alone, "shut", "postgres", "template1")
        await until(lambda: share(guest, shut, *others))
        await node.sql("alter role guest nologin")
        await node.sql(f"{end} usename = 'guest'")
        await node.sql("alter database shut allow_connections false")
        await node.sql(f"{end} datname = 'shut'")
        for manager in (guest, shut):
            await recorder(manager).wait_for(OutageStarted)
        with pytest.raises(NoHostAvailable, match="not permitted to log in"):
            await guest.getconn(timeout=0.5)
        for manager in others:
            assert await port_of(manager) == node.port
        await node.sql("alter role guest login")
        await node.sql("alter database shut allow_connections true")
        for manager in (guest, shut):
            await recorder(manager).wait_for(OutageEnded)
        await until(lambda: share(guest, shut, *others))
        assert_calm(*others)


async def test_a_database_that_is_read_only_is_so_for_its_own_manager(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    async with databases(alone, "frozen"):
        await alone[0].sql("alter database frozen set default_transaction_read_only = on")
        values = {"target": "primary", "min_size": 1, "health_interval": 0.1, "when_down": "fail"}
        frozen = await moor(*alone, kwargs={"dbname": "frozen"}, **values)
        others = [await moor(*alone, **values) for _ in range(2)]
        for manager in others:
            await manager.wait()
        await recorder(frozen).wait_for(OutageStarted)
        await until(lambda: share(*others))
        assert not share(frozen, *others)
        assert_calm(*others)
        await alone[0].sql("alter database frozen reset default_transaction_read_only")
        await recorder(frozen).wait_for(OutageEnded)
        await until(lambda: share(frozen, *others))


async def test_a_database_whose_logins_hang_moves_nobody_else(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    async with databases(alone, "stuck"):
        values = {"health_timeout": 0.3, "kwargs": {"connect_timeout": "0.3"}}
        stuck, *others = await opened(moor, alone, "stuck", "postgres", "template1", **values)
        lead(stuck)
        async with stuck.connection() as conn:
            await conn.execute(
                "create function wait() returns event_trigger language plpgsql"
                " as $$ begin perform pg_sleep(60); end $$"
            )
            await conn.execute("create event trigger hang on login execute function wait()")
        await alone[0].sql(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = 'stuck'"
        )
        await recorder(stuck).wait_for(OutageStarted)
        for manager in others:
            assert await port_of(manager) == alone[0].port
        assert_calm(*others)


# -- opening and closing -------------------------------------------------------------------------


@both_loops
async def test_managers_may_close_in_any_order_and_leave_nothing(pair: Cluster) -> None:
    before = asyncio.all_tasks()
    info = pair.conninfo(application_name="shared")
    managers = [ConnectionManager(info, min_size=1, health_interval=0.05) for _ in range(5)]
    await asyncio.gather(*(manager.open(wait=True) for manager in managers))
    await until(lambda: share(*managers))
    probe = clients_of(managers[0])[0].probe
    last = managers[3]
    while len(probe.clients) > 1:
        source = probe.clients[0]
        asked = next(manager for manager in managers if source in clients_of(manager))
        if asked is last:
            probe.pass_over(source)
            continue
        await until(lambda: probe.is_asking(source))  # noqa: B023  it is called at once
        await asked.close()
        managers.remove(asked)
        assert source not in probe.clients
    assert managers == [last]
    await pair[0].kill()
    await pair[1].promote()
    assert await port_of(last) == pair[1].port
    await last.close()
    assert asyncio.all_tasks() == before
    await sessions(pair[1], 0)


async def test_managers_that_met_a_server_that_was_away_all_find_it_and_share_again(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    await alone[0].kill()
    values = {"min_size": 1, "health_interval": 0.1, "kwargs": {"application_name": "shared"}}
    managers = [await moor(*alone, **values) for _ in range(4)]
    given_up = ConnectionManager(alone.conninfo(), min_size=1, health_interval=0.1)
    opening = asyncio.create_task(given_up.open(wait=True))
    for manager in managers:
        await recorder(manager).wait_for(OutageStarted)
    opening.cancel()
    await asyncio.wait([opening])
    await given_up.close()
    await alone[0].start()
    for _ in range(2):
        assert await asyncio.gather(*map(port_of, managers)) == [alone[0].port] * 4
        await until(lambda: share(*managers))
        await sessions(alone[0], 5)
        await alone[0].kill()
        await alone[0].start()
