"""A callable for `hosts`: hosts come and go while the manager is open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConfigError, ConnectionManager, NoHostAvailable
from pgmoor.events import Failover, HostsChanged
from pgmoor.testing import FaultProxy
from servers import port_of
from support import Recorder, Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor._core.manager.runtime import Runtime
    from pgmoor.testing import Cluster, Node


class Registry:
    """Returns the list of hosts, as a service registry would, or raises what a test sets."""

    def __init__(self, *nodes: Node) -> None:
        self.hosts: Any = [address(node) for node in nodes]
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        if isinstance(self.hosts, BaseException):
            raise self.hosts
        return self.hosts

    async def called(self, times: int) -> None:
        """Wait until it has been called so often again."""
        before = self.calls
        await until(lambda: self.calls >= before + times)


def address(node: Node) -> str:
    return f"{node.host}:{node.port}"


@asynccontextmanager
async def manager_of(registry: Registry, **settings: Any) -> AsyncIterator[ConnectionManager]:
    values = {"min_size": 1, "max_size": 4, "timeout": 10.0, "hosts_interval": 0.05, **settings}

    async def call() -> Any:
        await asyncio.sleep(0)
        return registry()

    manager = ConnectionManager("user=postgres dbname=postgres", hosts=call, **values)
    manager.recorder = Recorder(manager)  # type: ignore[attr-defined]
    await manager.open()
    try:
        yield manager
    finally:
        await manager.close(timeout=1)


def runtime_of(manager: ConnectionManager) -> Runtime:
    assert manager._runtime is not None
    return manager._runtime


def probed(manager: ConnectionManager) -> set[str]:
    return {client.host.label for client in runtime_of(manager).probing._clients.values()}


def remembered(manager: ConnectionManager) -> int:
    """Return of how many hosts anything is known."""
    return len(runtime_of(manager).live.evidence.table._states)


# -- open() --------------------------------------------------------------------------------------


async def test_open_raises_what_the_callable_does_and_can_be_called_again(alone: Cluster) -> None:
    registry = Registry()
    manager = ConnectionManager("user=postgres dbname=postgres", hosts=registry, min_size=1)
    registry.hosts = OSError("no registry")
    with pytest.raises(OSError, match="no registry"):
        await manager.open()
    registry.hosts = []
    with pytest.raises(ConfigError, match="not a list of addresses"):
        await manager.open()
    registry.hosts = [address(alone[0])]
    async with manager:
        assert await port_of(manager) == alone[0].port


async def test_open_waits_no_longer_than_connect_timeout_for_the_first_list() -> None:
    async def hang() -> list[str]:
        await asyncio.Event().wait()
        return []

    manager = ConnectionManager("user=postgres connect_timeout=0.1", hosts=hang)
    with pytest.raises(NoHostAvailable, match=r"for hosts returned nothing within 0\.1 s"):
        await manager.open()


# -- another list --------------------------------------------------------------------------------


async def test_a_new_host_is_probed_and_used_when_it_is_needed(pair: Cluster) -> None:
    registry = Registry(pair[0])
    async with manager_of(registry) as manager:
        assert await port_of(manager) == pair[0].port
        registry.hosts = [address(node) for node in pair]
        event = await recorder(manager).wait_for(HostsChanged)
        assert event.added == (address(pair[1]),)
        await until(lambda: probed(manager) == {address(node) for node in pair})

        await pair[0].kill()
        await pair[1].promote()

        assert await port_of(manager) == pair[1].port


async def test_a_host_that_is_removed_is_left_and_its_connections_may_finish(
    pair: Cluster,
) -> None:
    registry = Registry(*pair)
    async with (
        manager_of(registry, target="any") as manager,
        manager.connection() as held,
    ):
        assert await port_of(manager) == pair[0].port

        registry.hosts = [address(pair[1])]
        event = await recorder(manager).wait_for(Failover)

        assert event.reason == f"{address(pair[0])} is no longer in the list"
        assert await port_of(manager) == pair[1].port
        assert await (await held.execute("select 1")).fetchone() == (1,)
        await until(lambda: probed(manager) == {address(pair[1])})
        assert [host.host for host in manager.snapshot().hosts] == [address(pair[1])]


async def test_a_removed_host_stays_in_use_until_another_qualifies(pair: Cluster) -> None:
    registry = Registry(*pair)
    async with manager_of(registry) as manager, Workload(manager, tasks=4) as workload:
        registry.hosts = [address(pair[1])]  # a standby
        await recorder(manager).wait_for(HostsChanged)
        await registry.called(5)
        assert workload.errors() == []
        assert await port_of(manager) == pair[0].port
        await pair[1].promote()
        await recorder(manager).wait_for(Failover)
        assert await port_of(manager) == pair[1].port


async def test_a_preferred_host_may_be_removed_while_its_pool_is_filled(
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
        await until(lambda: probed(manager) == {address(pair[1])})

        await until(lambda: not list(runtime_of(manager).pools.retired))
        await until(lambda: remembered(manager) == 1)
        assert await port_of(manager) == pair[1].port
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_in_an_outage_the_callable_is_called_every_second(pair: Cluster) -> None:
    registry = Registry(pair[0])
    async with manager_of(registry, hosts_interval=3600.0) as manager:
        assert await port_of(manager) == pair[0].port
        await pair[1].promote()
        registry.hosts = [address(pair[1])]
        await pair[0].kill()

        assert await port_of(manager) == pair[1].port


# -- no list -------------------------------------------------------------------------------------


async def test_what_is_no_list_of_addresses_changes_nothing_and_the_next_list_counts(
    alone: Cluster,
) -> None:
    registry = Registry(alone[0])
    async with manager_of(registry) as manager:
        for answer in (
            *([], None, "db1", [7], ["a", "a"]),
            *(OSError("no registry"), asyncio.CancelledError(), BaseException()),
        ):
            registry.hosts = answer
            await registry.called(2)

            assert [host.host for host in manager.snapshot().hosts] == [address(alone[0])]
        assert recorder(manager).of(HostsChanged) == []
        registry.hosts = [address(alone[0]), "127.0.0.1:1"]
        await until(lambda: len(probed(manager)) == 2)
        assert await port_of(manager) == alone[0].port


# -- what is kept --------------------------------------------------------------------------------


async def test_hosts_that_change_again_and_again_leave_nothing_behind(alone: Cluster) -> None:
    registry = Registry(alone[0])
    async with manager_of(registry, target="any", hosts_interval=0.005) as manager:
        await port_of(manager)
        before = len(asyncio.all_tasks())
        for number in range(30):
            label = f"127.0.0.1:{number + 1}"
            registry.hosts = [address(alone[0]), label]
            await until(lambda label=label: label in probed(manager))  # type: ignore[misc]
        registry.hosts = [address(alone[0])]
        await until(lambda: probed(manager) == {address(alone[0])})
        await until(lambda: len(asyncio.all_tasks()) <= before)

        assert remembered(manager) == 1
        assert await port_of(manager) == alone[0].port


async def test_of_removed_hosts_whose_dials_failed_nothing_is_remembered(pair: Cluster) -> None:
    async def configure(conn: Any) -> None:
        if conn.info.port != pair[1].port:
            raise LookupError

    registry = Registry(pair[1])
    async with manager_of(registry, target="any", configure=configure) as manager:
        live = runtime_of(manager).live
        failures = live.evidence.dial_failures
        for _ in range(3):
            with FaultProxy(pair[0].host, pair[0].port) as proxy:
                registry.hosts = [f"{proxy.host}:{proxy.port}"]
                await until(lambda: live.phase.current in failures)
                registry.hosts = [address(pair[1])]
                await until(lambda: probed(manager) == {address(pair[1])})
        await until(lambda: remembered(manager) == 1)

        assert failures == {}
        assert live.reporter._dials._last == {}
        assert live.reporter._unexplained == {}
