"""A `connection_class` with a `connect()` of its own: it makes every connection, probes' too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from pgmoor import ConfigError, ConnectionManager, ManagedConnection
from servers import port_of
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy

Connection = psycopg.AsyncConnection[Any]
T = TypeVar("T")


def recording(**added: Any) -> Any:
    """Return a class that records its calls, and adds arguments to them."""

    class Recording(Connection):
        calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.mine = "mine"

        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            cls.calls.append((conninfo, dict(kwargs)))
            if tenant := kwargs.pop("tenant", None):
                kwargs["application_name"] = tenant
            return await super().connect(conninfo, **{**kwargs, **added})

    return Recording


async def failure_of(manager: ConnectionManager) -> str:
    """Wait until the manager has met a failure at its only host; return what it says of it."""
    await until(lambda: manager.snapshot().hosts[0].failure is not None)
    return str(manager.snapshot().hosts[0])


async def shown(manager: ConnectionManager, setting: str) -> Any:
    async with manager.connection(timeout=5) as conn:
        row = await (await conn.execute(f"show {setting}")).fetchone()
        return row and row[0]


# -- what it is called with ---------------------------------------------------------------------


async def test_probes_and_dials_call_it_with_one_hosts_conninfo_and_the_programs_kwargs(
    pair: Cluster,
) -> None:
    kind = recording()
    hosts, ports = pair[0].host, ",".join(str(node.port) for node in pair.nodes)
    manager = ConnectionManager(
        f"user=postgres port={ports} application_name=orders",
        kwargs={"host": f"{hosts},{hosts}", "dbname": "postgres", "autocommit": True},
        connection_class=kind,
        min_size=0,
        max_size=1,
    )
    async with manager:
        await manager.wait_ready()
        await until(lambda: len(kind.calls) == 2)  # one probe for each host, no dial
        async with manager.connection(timeout=5) as conn:
            assert isinstance(conn, kind)
            assert isinstance(conn, ManagedConnection)

    assert len(kind.calls) == 3
    for conninfo, keywords in kind.calls:
        params = conninfo_to_dict(conninfo)
        assert (params["user"], params["dbname"]) == ("postgres", "postgres")
        assert params["application_name"] == "orders"
        assert keywords == {"host": hosts, "dbname": "postgres", "autocommit": True}
    probed = {conninfo_to_dict(conninfo)["port"] for conninfo, _ in kind.calls}
    assert probed == {str(node.port) for node in pair.nodes}


async def test_it_may_take_keywords_of_its_own_and_replace_others(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    kind = recording(options="-c work_mem=123kB")
    manager = await moor(*alone, connection_class=kind, kwargs={"tenant": "acme"}, min_size=1)

    assert await shown(manager, "work_mem") == "123kB"
    assert await shown(manager, "application_name") == "acme"


def test_keywords_that_nobody_takes_are_refused() -> None:
    with pytest.raises(ConfigError, match="'tenant' is not a connection parameter"):
        ConnectionManager(kwargs={"tenant": "acme"})
    with pytest.raises(ConfigError, match="'conninfo' is not a connection parameter"):
        ConnectionManager(kwargs={"conninfo": ""}, connection_class=recording())


async def test_a_keyword_of_its_own_may_be_a_function_and_is_handed_on_as_it_is(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    class Asks(Connection):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            return await super().connect(make_conninfo(conninfo, application_name=kwargs["name"]()))

    kwargs = {"name": lambda: "asked"}
    manager = await moor(*alone, connection_class=Asks, kwargs=kwargs, min_size=1)

    assert await shown(manager, "application_name") == "asked"


# -- names --------------------------------------------------------------------------------------


class Moves(Connection):
    """Knows an address for a name that no resolver knows."""

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
        params = conninfo_to_dict(conninfo)
        if params["host"] == "orders.invalid":
            params["host"] = "127.0.0.1"
        return await super().connect(make_conninfo("", **params), **kwargs)


class MovesLater(Connection):
    """Does the same in psycopg's hook."""

    @classmethod
    async def _get_connection_params(cls, conninfo: str, **kwargs: Any) -> Any:
        params = await super()._get_connection_params(conninfo, **kwargs)
        if params["host"] == "orders.invalid":
            params["hostaddr"] = "127.0.0.1"
        return params


@pytest.mark.parametrize("kind", [Moves, MovesLater])
async def test_it_may_resolve_a_name_in_its_own_way(
    kind: Any, alone: Cluster, moor: Callable[..., Any]
) -> None:
    class Orders:
        host, port = "orders.invalid", alone[0].port

    with pytest.warns(UserWarning, match="does not prove"):
        manager = await moor(Orders, connection_class=kind, min_size=1)
    assert await port_of(manager) == alone[0].port


async def test_a_name_that_it_leaves_alone_is_resolved_as_for_any_other_class(
    moor: Callable[..., Any],
) -> None:
    class Unknown:
        host, port = "other.invalid", 5432

    with pytest.warns(UserWarning, match="does not prove"):
        manager = await moor(Unknown, connection_class=Moves)
    assert "its name was not resolved" in await failure_of(manager)


# -- what it returns ----------------------------------------------------------------------------


async def test_a_connection_that_it_leaves_in_a_transaction_is_committed(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    class Sets(Connection):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            conn = await super().connect(conninfo, **kwargs)
            await conn.execute("set work_mem = '123kB'")
            return conn

    manager = await moor(*alone, connection_class=Sets, min_size=1, max_size=1)
    assert await shown(manager, "work_mem") == "123kB"
    await alone[0].wait_for(
        "select not exists(select from pg_stat_activity where state = 'idle in transaction')"
    )


@pytest.mark.parametrize("kind", [Connection, recording()])
async def test_a_plain_function_may_stand_in_place_of_psycopgs_connect(
    kind: Any,
    alone: Cluster,
    proxies: Callable[..., list[FaultProxy]],
    moor: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = psycopg.AsyncConnection.connect
    traced: list[str] = []

    async def connect(conninfo: str = "", **kwargs: Any) -> Any:
        traced.append(conninfo)
        return await original(conninfo, **kwargs)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    (door,) = proxies(alone)
    kwargs = {"autocommit": True, "row_factory": dict_row}
    manager = await moor(door, connection_class=kind, kwargs=kwargs, min_size=1, max_size=1)
    async with manager.connection(timeout=5) as conn:
        assert isinstance(conn, ManagedConnection)
        assert isinstance(conn, getattr(kind, "__origin__", kind))
        assert getattr(conn, "mine", "mine") == "mine"
        assert conn.autocommit
        assert await (await conn.execute("select 1 as one")).fetchone() == {"one": 1}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await conn.execute("select pg_sleep(60)")
        await conn.execute("select 2")  # the cancelled query did not cost the connection

    assert len(traced) == 2
    door.silent()  # the probe's connection can still be cut
    await until(lambda: manager.snapshot().hosts[0].status == "silent")


async def test_what_is_no_connection_is_a_failure_that_says_so(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    class Wrapper:
        def __init__(self, conn: Any) -> None:
            self.conn = conn

    class Wraps(Connection):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            conn = await super().connect(conninfo, **kwargs)
            await conn.close()
            return Wrapper(conn)

    manager = await moor(*alone, connection_class=Wraps)
    text = await failure_of(manager)
    assert "Wrapper; let it return what psycopg's connect() returns" in text
    assert "silent" not in text


async def test_what_it_raises_is_told_without_secrets(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    class Refuses(Connection):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            raise TimeoutError(f"nobody took {kwargs['token']}")

    manager = await moor(*alone, connection_class=Refuses, kwargs={"token": "s3cr3t-t0ken"})
    text = await failure_of(manager)
    assert "is down (connect() of connection_class raised TimeoutError: nobody took ***" in text
    assert "s3cr3t" not in text
    assert "s3cr3t" not in repr(manager._settings)


# -- which classes are taken ----------------------------------------------------------------------


class Generous(psycopg.AsyncConnection[T], Generic[T]):
    """A class that is generic itself."""


@pytest.mark.parametrize(
    "alias", [psycopg.AsyncConnection[DictRow], Generous[DictRow], ManagedConnection]
)
async def test_psycopgs_generic_aliases_are_classes_too(
    alias: Any, alone: Cluster, moor: Callable[..., Any]
) -> None:
    kwargs = {"row_factory": dict_row}
    manager = await moor(*alone, connection_class=alias, kwargs=kwargs, min_size=1)
    async with manager.connection(timeout=5) as conn:
        assert isinstance(conn, getattr(alias, "__origin__", alias))
        assert await (await conn.execute("select 1 as one")).fetchone() == {"one": 1}


@pytest.mark.parametrize("kind", [list[int], dict, psycopg.Connection, "AsyncConnection", None])
def test_other_classes_and_their_aliases_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="derive it from AsyncConnection"):
        ConnectionManager(connection_class=kind)
