"""Arguments of calls that can't be used: a clear error at once, and nothing else happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConfigError, ConnectionManager, Retry
from pgmoor.prometheus import Collector
from pgmoor.testing import Cluster, ClusterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ADDRESS = "postgresql://app:s3cret@db1/orders"


async def nothing(_: object) -> None: ...


async def block(context: Any) -> None:
    async with context:
        pass


TIMED: dict[str, Callable[[ConnectionManager, Any], Awaitable[object]]] = {
    "connection": lambda manager, timeout: block(manager.connection(timeout)),
    "getconn": lambda manager, timeout: manager.getconn(timeout),
    "run": lambda manager, timeout: manager.run(nothing, timeout=timeout),
    "transaction": lambda manager, timeout: block(manager.transaction(timeout=timeout)),
    "retrying": lambda manager, timeout: anext(manager.retrying(timeout=timeout)),
    "transactional": lambda manager, timeout: manager.transactional(timeout=timeout)(nothing)(),
    "open": lambda manager, timeout: manager.open(timeout=timeout),
    "wait": lambda manager, timeout: manager.wait(timeout),
    "wait_ready": lambda manager, timeout: manager.wait_ready(timeout),
    "health": lambda manager, timeout: manager.health(fresh=True, timeout=timeout),
    "close": lambda manager, timeout: manager.close(timeout),
}


@pytest.mark.parametrize("timeout", ["5", float("nan"), True, [5], 10**400])
async def test_a_timeout_that_is_no_number_is_refused_and_the_manager_works_on(
    timeout: Any, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    for call in TIMED.values():
        with pytest.raises(ConfigError, match=r"timeout: .+ is not a usable duration; give"):
            await call(manager, timeout)
    async with manager.connection(timeout=float("inf")) as conn:
        await conn.execute("select 1")
    async with manager.connection(timeout=-1):  # its time has passed, and there is an idle one
        pass


@pytest.mark.parametrize("retry", [False, 0, {"attempts": 3}, Retry])
async def test_what_is_no_retry_is_refused_and_not_taken_for_the_default(
    retry: Any, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1)
    refused = pytest.raises(ConfigError, match=r"retry: .+ is not a Retry; give")
    with refused:
        await manager.run(nothing, retry=retry)
    with refused:
        manager.retrying(retry=retry)
    with refused:
        manager.transactional(retry=retry)


def test_a_decorator_refuses_at_once_what_every_call_would_meet() -> None:
    manager = ConnectionManager()
    given: Any
    for given in (
        {"key": "one for all calls"},
        {"isolation": "snapshot"},
        {"readonly": "yes"},
    ):
        (name,) = given
        with pytest.raises(ConfigError, match=f"{name}: "):
            manager.transactional(**given)
    no_coroutine_function: Any = lambda conn: (yield)  # noqa: E731
    with pytest.raises(TypeError, match="coroutine function"):
        manager.transactional()(no_coroutine_function)


@pytest.mark.parametrize("dbname", [None, "", 7, "a\0b"])
def test_a_database_without_a_name_is_refused(dbname: Any) -> None:
    with pytest.raises(ConfigError, match="dbname: "):
        ConnectionManager().for_database(dbname)


def test_siblings_keep_the_errors_of_the_constructor() -> None:
    with pytest.raises(ConfigError, match="kwargs: "):
        ConnectionManager().for_database("orders", kwargs=5)


def test_listeners_and_instruments_of_another_kind_are_refused() -> None:
    manager = ConnectionManager()
    given: Any
    for given in (None, 5, lambda: None):
        with pytest.raises(ConfigError, match="callback: "):
            manager.subscribe(given)
    for given in (object(), Collector):
        with pytest.raises(TypeError, match=r"instrument\(\) needs an Instrument"):
            manager.instrument(given)


def test_a_connection_string_in_place_of_a_manager_is_refused_and_not_shown() -> None:
    given: Any = ADDRESS
    with pytest.raises(TypeError, match="needs a ConnectionManager") as caught:
        Collector(given)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("indexes", [(), (0,)])
def test_a_cluster_that_is_not_open_has_no_conninfo(indexes: tuple[int, ...]) -> None:
    with pytest.raises(ClusterError, match="is not open"):
        Cluster().conninfo(*indexes)
