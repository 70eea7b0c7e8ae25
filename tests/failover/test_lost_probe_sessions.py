"""A probe's session that ends says only that this session ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmoor.events import HostDown
from support import both_loops, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, Node

END = "select pg_terminate_backend(%s, 5000)"
LOGINS = (
    "select pid from pg_stat_activity where application_name = 'hangs' and wait_event = 'PgSleep'"
)
HANG = """
create function hang() returns event_trigger language plpgsql as $$ begin
    if current_setting('application_name') = 'hangs' and to_regclass('hanging') is not null then
        perform pg_sleep(60);
    end if;
end $$
"""


class Ending:
    """A connector whose first connections the server ends before anything is asked over them."""

    def __init__(self, connector: Any, node: Node, count: int, then: Callable[[], None]) -> None:
        self._connector = connector
        self._node = node
        self._then = then
        self.left = count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)

    async def connect(self, *args: Any) -> Any:
        conn = await self._connector.connect(*args)
        if self.left:
            self.left -= 1
            await self._node.sql(END, conn.info.backend_pid)
            if not self.left:
                self._then()
        return conn


def prober_of(manager: Any) -> Any:
    (client,) = manager._runtime.probing._clients.values()
    return client._prober


async def lose(
    manager: Any, node: Node, count: int, then: Callable[[], None] = lambda: None
) -> Ending:
    """End the session of the host's probe, and the next *count* that it makes; *then* go on."""
    prober = prober_of(manager)
    await until(lambda: prober._conn is not None)
    ending = prober._connector = Ending(prober._connector, node, count, then)
    await node.sql(END, prober._conn.info.backend_pid)
    return ending


@both_loops
async def test_a_new_session_that_is_lost_is_replaced_once(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, target="any", min_size=1, health_interval=0.05)
    await manager.wait()
    ending = await lose(manager, alone[0], 1)
    await until(lambda: not ending.left)
    await until(lambda: prober_of(manager)._conn is not None)
    assert not recorder(manager).of(HostDown)


async def test_a_login_that_an_administrator_ends_is_begun_again_once(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    node = alone[0]
    values = {"min_size": 0, "health_interval": 0.05, "health_timeout": 5}
    manager = await moor(*alone, target="any", kwargs={"application_name": "hangs"}, **values)
    await manager.wait()
    prober = prober_of(manager)
    await node.sql(HANG)
    await node.sql("create event trigger hang on login execute function hang()")
    try:
        await node.sql("create table hanging ()")
        await until(lambda: prober._conn is not None)
        await node.sql(END, prober._conn.info.backend_pid)
        await node.wait_for(f"select exists ({LOGINS})")
        await node.sql("drop table hanging")
        await node.sql(f"select pg_terminate_backend(pid, 5000) from ({LOGINS}) logins")
        await until(lambda: prober._conn is not None)
    finally:
        await node.sql("drop event trigger hang")
        await node.sql("drop function hang")
        await node.sql("drop table if exists hanging")
    assert not recorder(manager).of(HostDown)


async def test_a_server_that_ends_each_new_session_is_down(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, target="any", min_size=1, health_interval=0.05)
    await manager.wait()
    ending = await lose(manager, alone[0], 1_000)
    await recorder(manager).wait_for(HostDown)
    assert 2 <= 1_000 - ending.left <= 3


async def test_a_host_that_ends_a_new_session_and_falls_silent_is_silent(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, target="any", min_size=0, health_interval=0.05, health_timeout=0.3)
    await manager.wait()
    await lose(manager, alone[0], 1, door.silent)
    assert (await recorder(manager).wait_for(HostDown)).status == "silent"
