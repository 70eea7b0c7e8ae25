"""Hosts that come and go while the manager is open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pgmoor._core.hosts.host import Host, Observation, ServerInfo

from pgmoor import ConfigError, ConnectionManager, NoHostAvailable
from pgmoor._core.hosts.table import HostTable
from pgmoor.events import Failover, HostsChanged
from pgmoor.testing import FaultProxy
from support import Recorder, Workload, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor.testing import Cluster, Node


class Registry:
    """Knows the hosts, as a service registry would."""

    def __init__(self, *nodes: Node) -> None:
        self.hosts: Any = [address(node) for node in nodes]
        self.asked = 0

    def ask(self) -> Any:
        self.asked += 1
        if isinstance(self.hosts, BaseException):
            raise self.hosts
        return self.hosts

    async def ask_slowly(self) -> Any:
        await asyncio.sleep(0)
        return self.ask()


def address(node: Node) -> str:
    return f"{node.host}:{node.port}"


@asynccontextmanager
async def manager_of(registry: Registry, **settings: Any) -> AsyncIterator[ConnectionManager]:
    values = {"min_size": 1, "max_size": 4, "timeout": 10.0, "hosts_interval": 0.05, **settings}
    manager = ConnectionManager(
        "user=postgres dbname=postgres", hosts=registry.ask_slowly, **values
    )
    manager.recorder = Recorder(manager)  # type: ignore[attr-defined]
    await manager.open()
    try:
        yield manager
    finally:
        await manager.close(timeout=1)


def recorded(manager: ConnectionManager) -> Recorder:
    found: Recorder = manager.recorder  # type: ignore[attr-defined]
    return found


async def port_of(manager: ConnectionManager) -> int:
    async with manager.connection() as conn:
        row = await (await conn.execute("select inet_server_port()")).fetchone()
        assert row is not None
        return int(row[0])


def probes(manager: ConnectionManager) -> set[str]:
    assert manager._runtime is not None
    return {prober.host.label for prober in manager._runtime.probing.probers.values()}


# -- the list ------------------------------------------------------------------------------------


def hosts(*names: str) -> list[Host]:
    return [Host(index, name, 5432) for index, name in enumerate(names)]


def names(table: HostTable) -> list[str]:
    return [state.host.host for state in table]


def test_a_host_that_stays_keeps_its_index_and_what_is_known_of_it() -> None:
    table = HostTable(hosts("a", "b"))
    table.apply(Observation(1, 1.0, 1.1, info=ServerInfo(in_recovery=False, writable=True)))
    known = table[1]

    revision = table.revise(hosts("c", "b"))

    assert names(table) == ["c", "b"]
    assert [host.host for host in revision.added] == ["c"]
    assert [host.host for host in revision.gone] == ["a"]
    assert table[1] is known
    assert [state.host.index for state in table] == [2, 1]


def test_a_host_that_is_gone_is_known_for_as_long_as_it_is_in_use() -> None:
    table = HostTable(hosts("a", "b"))
    table.revise(hosts("b"), keep={0})

    assert names(table) == ["b"]
    assert table[0].host.host == "a"
    assert not table.is_listed(0)
    table.revise(hosts("b"))
    assert not table.is_known(0)


def test_a_host_that_comes_back_is_added_again() -> None:
    table = HostTable(hosts("a", "b"))
    table.revise(hosts("b"))

    revision = table.revise(hosts("a", "b"))

    assert [(host.host, host.index) for host in revision.added] == [("a", 2)]
    assert names(table) == ["a", "b"]


def test_another_order_is_no_other_list() -> None:
    table = HostTable(hosts("a", "b"))

    assert table.revise(hosts("b", "a")) == ((), ())
    assert names(table) == ["b", "a"]


# -- the manager ---------------------------------------------------------------------------------


async def test_hosts_are_asked_for_when_the_manager_is_opened(alone: Cluster) -> None:
    registry = Registry(alone[0])
    async with manager_of(registry) as manager:
        assert await port_of(manager) == alone[0].port


async def test_a_new_host_is_used_when_it_is_needed(pair: Cluster) -> None:
    registry = Registry(pair[0])
    async with manager_of(registry) as manager:
        assert await port_of(manager) == pair[0].port
        registry.hosts = [address(node) for node in pair]
        event = await recorded(manager).wait_for(HostsChanged)
        assert event.added == (address(pair[1]),)
        await until(lambda: probes(manager) == {address(node) for node in pair})

        await pair[0].kill()
        await pair[1].promote()

        assert await port_of(manager) == pair[1].port


async def test_a_host_that_is_taken_out_is_left_without_a_failure(pair: Cluster) -> None:
    registry = Registry(*pair)
    async with (
        manager_of(registry, target="any") as manager,
        manager.connection() as held,
    ):
        assert await port_of(manager) == pair[0].port

        registry.hosts = [address(pair[1])]
        event = await recorded(manager).wait_for(Failover)

        assert event.reason == "it is no longer in the list"
        assert await port_of(manager) == pair[1].port
        assert await (await held.execute("select 1")).fetchone() == (1,)
        await until(lambda: probes(manager) == {address(pair[1])})
        assert [host.host for host in manager.snapshot().hosts] == [address(pair[1])]


async def test_the_host_in_use_is_not_left_for_nothing(pair: Cluster) -> None:
    """The list names a standby only: writes go on where they can."""
    registry = Registry(*pair)
    async with manager_of(registry) as manager, Workload(manager, tasks=4) as workload:
        registry.hosts = [address(pair[1])]
        await recorded(manager).wait_for(HostsChanged)
        asked = registry.asked
        await until(lambda: registry.asked > asked + 5)
        assert workload.errors() == []
        assert await port_of(manager) == pair[0].port
        await pair[1].promote()
        await recorded(manager).wait_for(Failover)
        assert await port_of(manager) == pair[1].port


async def test_a_preferred_host_may_go_while_its_pool_is_filled(
    pair: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    filling = asyncio.Event()

    async def configure(conn: Any) -> None:
        if conn.info.port == pair[0].port:
            filling.set()
            await asyncio.Event().wait()

    registry = Registry(pair[1])
    settings = {"target": "any", "failback_after": 0.1, "health_interval": 0.1}
    async with manager_of(registry, configure=configure, **settings) as manager:
        assert await port_of(manager) == pair[1].port
        registry.hosts = [address(pair[0]), address(pair[1])]
        await asyncio.wait_for(filling.wait(), 5)
        registry.hosts = [address(pair[1])]
        await until(lambda: probes(manager) == {address(pair[1])})

        machine = manager._runtime
        assert machine is not None
        await until(lambda: not list(machine.steering.left_pools))
        await until(lambda: len(machine.steering.table._states) == 1)
        assert await port_of(manager) == pair[1].port
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_in_an_outage_the_list_is_asked_for_again(pair: Cluster) -> None:
    registry = Registry(pair[0])
    async with manager_of(registry, hosts_interval=3600.0) as manager:
        assert await port_of(manager) == pair[0].port
        await pair[1].promote()
        registry.hosts = [address(pair[1])]
        await pair[0].kill()

        assert await port_of(manager) == pair[1].port


@pytest.mark.parametrize(
    "answer", [[], OSError("no registry"), None, "db1", [7], ["a", "a"]], ids=repr
)
async def test_an_answer_that_is_none_changes_nothing(alone: Cluster, answer: Any) -> None:
    registry = Registry(alone[0])
    async with manager_of(registry) as manager:
        registry.hosts = answer
        asked = registry.asked
        await until(lambda: registry.asked > asked + 2)

        assert await port_of(manager) == alone[0].port
        assert [host.host for host in manager.snapshot().hosts] == [address(alone[0])]
        assert recorded(manager).of(HostsChanged) == []


async def test_of_hosts_whose_dials_failed_nothing_is_left_either(pair: Cluster) -> None:
    async def configure(conn: Any) -> None:
        if conn.info.port != pair[1].port:
            raise LookupError

    registry = Registry(pair[1])
    async with manager_of(registry, target="any", configure=configure) as manager:
        machine = manager._runtime
        assert machine is not None
        steering = machine.steering
        for _ in range(3):
            with FaultProxy(pair[0].host, pair[0].port) as proxy:
                registry.hosts = [f"{proxy.host}:{proxy.port}"]
                await until(lambda: steering.current in steering._dial_failures)
                registry.hosts = [address(pair[1])]
                await until(lambda: probes(manager) == {address(pair[1])})
        await until(lambda: len(steering.table._states) == 1)

        assert steering._dial_failures == {}
        assert steering._report._dials == {}
        assert steering._report._unexplained == {}


@pytest.mark.parametrize("error", [asyncio.CancelledError, BaseException])
async def test_an_answer_whose_own_work_is_cancelled_does_not_end_the_asking(
    pair: Cluster, error: type[BaseException]
) -> None:
    registry = Registry(pair[0])
    async with manager_of(registry) as manager:
        registry.hosts = error()
        asked = registry.asked
        await until(lambda: registry.asked > asked + 1)
        registry.hosts = [address(pair[0]), address(pair[1])]
        await until(lambda: len(probes(manager)) == 2)


async def test_hosts_that_change_again_and_again_leave_nothing_behind(alone: Cluster) -> None:
    registry = Registry(alone[0])
    async with manager_of(registry, target="any", hosts_interval=0.005) as manager:
        await port_of(manager)
        before = len(asyncio.all_tasks())
        for number in range(30):
            registry.hosts = [address(alone[0]), f"127.0.0.1:{number + 1}"]
            label = f"127.0.0.1:{number + 1}"
            await until(lambda label=label: label in probes(manager))  # type: ignore[misc]
        registry.hosts = [address(alone[0])]
        await until(lambda: probes(manager) == {address(alone[0])})
        await until(lambda: len(asyncio.all_tasks()) <= before)

        machine = manager._runtime
        assert machine is not None
        assert len(machine.steering.table._states) == 1
        assert await port_of(manager) == alone[0].port


async def test_what_the_first_question_raises_reaches_the_one_who_opens(alone: Cluster) -> None:
    registry = Registry()
    manager = ConnectionManager("user=postgres dbname=postgres", hosts=registry.ask)
    registry.hosts = OSError("no registry")
    with pytest.raises(OSError, match="no registry"):
        await manager.open()
    registry.hosts = []
    with pytest.raises(ConfigError, match="not a list of addresses"):
        await manager.open()
    registry.hosts = [address(alone[0])]
    await manager.open()
    await manager.close()


async def test_a_first_question_that_hangs_is_bounded() -> None:
    async def hang() -> list[str]:
        await asyncio.Event().wait()
        return []

    manager = ConnectionManager("user=postgres connect_timeout=1", hosts=hang)
    with pytest.raises(NoHostAvailable, match="the callable for hosts gave nothing within 1 s"):
        await manager.open()
