"""`manager.as_pool()` is an AsyncConnectionPool, and all that it does is the manager's work."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from pgmoor import ConnectionAborted, ConnectionManager, NoHostAvailable
from pgmoor._core.manager.as_pool import ManagerPool
from pgmoor.errors import ManagerClosed
from pgmoor.events import DialFailed, Failover
from servers import NO_SERVER, port_of
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster
    from servers import Watched


def test_every_public_member_is_the_managers() -> None:
    pool = ConnectionManager("host=db1").as_pool()

    assert isinstance(pool, AsyncConnectionPool)
    members = inspect.getmembers_static(AsyncConnectionPool)
    theirs = {name for name, _ in members if not name.startswith("_")}
    assert theirs - vars(ManagerPool).keys() == {"check_connection"}  # it only tests a connection
    for name in ("run_task", "schedule_task", "worker", "reconnect_failed"):
        with pytest.raises(NotImplementedError):
            getattr(pool, name)()
    for name in ("_nconns", "_tasks", "_waiting", "anything"):
        with pytest.raises(AttributeError, match="public"):
            getattr(pool, name)
    with pytest.raises(AttributeError, match="manager"):
        pool.timeout = 1.0


async def test_it_lends_the_managers_connections_and_dials_none_itself(
    make: Callable[..., Any], watched: Watched
) -> None:
    manager: ConnectionManager = make(ConnectionManager, min_size=2, max_size=3, timeout=5)
    pool: Any = manager.as_pool()
    assert pool.closed
    with pytest.raises(PoolClosed, match="not open yet"):
        await pool.getconn()

    async with pool:
        await pool.wait(timeout=5)
        assert not pool.closed
        assert not manager.closed
        async with pool.connection() as conn:
            await conn.execute("select 1")
        conn = await pool.getconn(timeout=1)
        assert manager.snapshot().pool.used == 1
        await pool.putconn(conn)
        with pytest.raises(ValueError, match="returned"):
            await pool.putconn(conn)
        await pool.check()
        before = await watched.pids()
        assert len(before) == 2
        await pool.drain()
        await until(lambda: manager.snapshot().pool.idle == 2)
        assert not before & await watched.pids()
        await pool.resize(1, 1)
        assert (pool.min_size, pool.max_size) == (manager.min_size, manager.max_size) == (1, 1)
        assert pool.get_stats()["requests_num"] == 2
        assert pool.pop_stats()["requests_num"] == 2
        assert pool.get_stats()["requests_num"] == manager.get_stats()["requests_num"] == 0
        async with pool.connection():
            with pytest.raises(PoolTimeout):
                await pool.getconn(timeout=0.05)
    assert pool.closed
    with pytest.raises(PoolClosed):
        await pool.open()


async def test_its_conninfo_leads_to_the_host_in_use_with_the_newest_password(
    pair: Cluster,
) -> None:
    passwords = iter(["first", "second", "third"])
    manager = ConnectionManager(
        pair.conninfo(),
        min_size=0,
        max_size=1,
        password=lambda: next(passwords),
        kwargs={"row_factory": dict_row, "application_name": "shop"},
    )
    pool = manager.as_pool()
    static = psycopg.conninfo.conninfo_to_dict(str(pool.conninfo))
    assert static["port"] == ",".join(str(node.port) for node in pair)
    assert static["target_session_attrs"] == "primary"
    async with pool:
        conninfo, kwargs = await pool._resolve_conninfo(), await pool._resolve_kwargs()
        assert kwargs == {"row_factory": dict_row}
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
        assert given["port"] == str(pair[0].port)
        assert given["application_name"] == "shop"
        assert given["password"] == "first"
        assert "first" not in repr([conninfo, pool, vars(pool)])
        assert copy.deepcopy(conninfo) is conninfo
        with pytest.raises(TypeError, match="password"):
            pickle.dumps(conninfo)
        async with await psycopg.AsyncConnection.connect(conninfo, **kwargs) as conn:
            cursor = await conn.execute("select inet_server_port() as port")
            assert await cursor.fetchone() == {"port": pair[0].port}


async def test_a_connection_of_its_class_is_made_with_the_librarys_arguments(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], min_size=0, max_size=1, kwargs={"row_factory": dict_row})
    pool = manager.as_pool()
    async with (
        pool.connection() as lent,  # it takes no place in the pool
        await pool.connection_class.connect(
            await pool._resolve_conninfo(), autocommit=True, application_name="listener"
        ) as conn,
    ):
        assert issubclass(pool.connection_class, manager.connection_class)
        assert conn.autocommit
        assert not lent.autocommit
        cursor = await conn.execute("show application_name")
        assert await cursor.fetchone() == {"application_name": "listener"}
        # A wait that its caller cuts short leaves it usable.
        await conn.execute("listen news")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(aiter(conn.notifies())), 0.05)
        await alone[0].sql("notify news, 'now'")
        notice = await asyncio.wait_for(anext(aiter(conn.notifies())), 5)
        assert notice.payload == "now"
    assert conn.closed
    other = await pool.connection_class.connect(alone.conninfo())  # not the manager's conninfo
    await other.close()


async def test_who_listens_is_cut_when_the_host_is_left_and_led_to_the_next(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair.nodes, min_size=1, timeout=10)
    pool = manager.as_pool()

    async def connect() -> Any:
        conninfo = await pool._resolve_conninfo()
        return await pool.connection_class.connect(conninfo, autocommit=True)

    async def listens(conn: psycopg.AsyncConnection[Any]) -> None:
        async for _ in conn.notifies():
            pass

    conn = await connect()
    waits = asyncio.create_task(listens(conn))
    await pair[0].demote()  # it goes on answering, and ends no session
    await pair[1].promote()
    with pytest.raises(ConnectionAborted, match="the manager left"):
        await asyncio.wait_for(waits, 10)
    await conn.close()
    conn = await connect()
    assert conn.info.port == pair[1].port == await port_of(manager)

    await pair[0].rejoin(pair[1])
    waits = asyncio.create_task(listens(conn))
    await pair[1].kill()
    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(waits, 10)
    await conn.close()
    # Nobody but the listener has noticed so far: it is not given the dead host's refusal.
    again = asyncio.create_task(connect())
    await pair[0].promote()
    conn = await asyncio.wait_for(again, 10)
    assert conn.info.port == pair[0].port
    await manager.close()
    assert conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with pytest.raises(ConnectionAborted, match="closed"):
        await conn.execute("select 1")


async def test_a_host_that_does_not_answer_a_dial_is_waited_for_as_long_as_the_manager_says(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    [door] = proxies(alone)
    pool = (await moor(door, min_size=1, max_size=1, timeout=0.3)).as_pool()
    await pool.wait()
    conninfo = await pool._resolve_conninfo()
    door.deaf()  # the pool's connection and the probe's go on
    with pytest.raises(NoHostAvailable, match=str(door.port)):
        await pool.connection_class.connect(conninfo)
    async with pool.connection() as conn:
        await conn.execute("select 1")


@pytest.mark.parametrize("login", [{"dbname": "missing"}, {"user": "nobody"}, {"nonsense": 1}])
async def test_a_login_of_the_librarys_own_that_is_refused_is_no_matter_of_the_managers(
    login: dict[str, Any], pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair.nodes, target="any", min_size=1, max_size=3, timeout=10)
    pool = manager.as_pool()
    async with asyncio.timeout(5):
        with pytest.raises(NoHostAvailable, match="as asked for"):
            await pool.connection_class.connect(await pool._resolve_conninfo(), **login)
        held = await hold(manager, 3)  # the pool grows
        good = {"dbname": "template1"}
        async with await pool.connection_class.connect(pool.conninfo, **good) as conn:
            assert conn.info.dbname == "template1"
    assert {conn.info.port for conn in held} == {pair[0].port}
    assert not recorder(manager).of(Failover)
    assert not recorder(manager).of(DialFailed)
    for conn in held:
        await manager.putconn(conn)


async def test_who_asks_while_there_is_no_host_waits_as_long_as_the_manager_says() -> None:
    manager = ConnectionManager(NO_SERVER, min_size=0, max_size=1, timeout=0.2)
    pool = manager.as_pool()
    with pytest.raises(ManagerClosed, match="not open yet"):
        await pool._resolve_conninfo()
    async with manager:
        began = monotonic()
        for ask in (pool._resolve_conninfo(), pool.connection_class.connect(str(NO_SERVER))):
            with pytest.raises(psycopg.OperationalError):
                await ask
        with pytest.raises(NoHostAvailable):
            conninfo: Any = pool.conninfo
            await pool.connection_class.connect(conninfo)
        assert monotonic() - began < 3
