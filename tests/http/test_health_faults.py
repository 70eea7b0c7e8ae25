"""Health responses during real faults: readiness follows the database, liveness does not."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args

from pgmoor import ConnectionManager, PoolExhausted
from pgmoor.events import HostDown, HostUp, OutageEnded, OutageStarted, Stalled
from pgmoor.http import Format, health_response
from pgmoor.testing import Cluster
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS: tuple[Format, ...] = get_args(Format)
CANARY = "hunter2-canary"


def codes(manager: ConnectionManager) -> tuple[set[int], set[int]]:
    """Return the status codes of readiness and of liveness, in all formats."""
    health = manager.snapshot()
    ready = {health_response(health, format=form).status_code for form in FORMATS}
    return ready, {
        health_response(health, format=form, check="live").status_code for form in FORMATS
    }


def everything(manager: ConnectionManager, *, details: bool) -> str:
    """Return the bodies of all health responses."""
    health = manager.snapshot()
    responses = (
        health_response(health, format=form, check=check, details=details)
        for form in FORMATS
        for check in ("ready", "live")
    )
    return "\n".join(response.body.decode() for response in responses)


def health_json(manager: ConnectionManager) -> Any:
    return json.loads(health_response(manager.snapshot(), details=True).body)


async def test_a_killed_server_ends_readiness_but_not_liveness(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, name="orders")
    await manager.wait()
    assert codes(manager) == ({200}, {200})
    assert health_json(manager)["status"] == "pass"

    await alone[0].kill()
    await recorder(manager).wait_for(OutageStarted)

    assert codes(manager) == ({503}, {200})
    body = health_json(manager)
    (host,) = body["checks"]["postgresql:responseTime"]
    assert (body["status"], body["output"], body["serviceId"]) == ("fail", "outage", manager.name)
    assert host["componentId"] == f"127.0.0.1:{alone[0].port}"
    assert (host["status"], host["current"]) == ("fail", False)
    assert "refused" in host["output"]
    detailed, public = everything(manager, details=True), everything(manager, details=False)
    for secret in ("127.0.0.1", str(alone[0].port), "refused", "orders", "max_size"):
        assert secret in detailed
        assert secret not in public

    await alone[0].start()
    await recorder(manager).wait_for(OutageEnded)

    assert codes(manager) == ({200}, {200})
    assert health_json(manager)["checks"]["postgresql:responseTime"][0]["current"]


async def test_a_full_pool_is_a_warning_only_while_callers_wait(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    await manager.wait()
    held = await hold(manager, 2)
    assert health_json(manager)["status"] == "pass"

    waiting = asyncio.create_task(manager.getconn(timeout=5))
    await until(lambda: manager.snapshot().pool.waiting == 1)

    body = health_json(manager)
    assert codes(manager) == ({200}, {200})
    assert (body["status"], body["output"]) == (
        "warn",
        "all connections are in use and callers wait",
    )
    assert body["checks"]["pool:utilization"][0]["observedValue"] == 100
    assert body["checks"]["pool:connections"][0]["waiting"] == 1
    assert health_response(manager.snapshot(), "text/plain").body == b"warn\n"

    waiting.cancel()
    with suppress(asyncio.CancelledError, PoolExhausted):
        await waiting
    for conn in held:
        await manager.putconn(conn)
    assert health_json(manager)["status"] == "pass"


async def test_a_dead_standby_is_a_warning_that_names_it(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    await manager.wait()
    standby = f"127.0.0.1:{pair[1].port}"
    await recorder(manager).wait_for(HostUp, where=lambda event: event.host == standby)

    await pair[1].kill()
    await recorder(manager).wait_for(HostDown)

    body = health_json(manager)
    assert codes(manager) == ({200}, {200})
    assert (body["status"], body["output"]) == ("warn", f"{standby} is down")
    states = [item["status"] for item in body["checks"]["postgresql:responseTime"]]
    assert states == ["pass", "fail"]


async def test_a_frozen_server_without_a_successor_is_a_warning_during_stall_timeout(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, health_interval=0.05, health_timeout=0.1)
    await manager.wait()

    await alone[0].freeze()
    await recorder(manager).wait_for(Stalled)

    assert codes(manager) == ({200}, {200})
    assert health_response(manager.snapshot(), "text/plain").body == b"warn\n"
    spring = json.loads(health_response(manager.snapshot(), format="spring", details=True).body)
    assert spring["components"]["db"]["details"]["state"] == "stalled"


async def test_a_manager_that_is_not_open_is_neither_ready_nor_live(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    new = ConnectionManager(alone.conninfo())
    manager = await moor(*alone)
    await manager.close()

    for unopened, state in ((new, "new"), (manager, "closed")):
        assert codes(unopened) == ({503}, {503})
        response = health_response(unopened.snapshot(), format="spring", details=True)
        assert json.loads(response.body)["status"] == "OUT_OF_SERVICE"
        assert json.loads(response.body)["components"]["db"]["details"]["state"] == state


async def test_a_manager_whose_tasks_have_ended_is_not_live(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    await manager.wait()

    manager._runtime._task.cancel()
    await until(lambda: not manager.snapshot().live)

    assert codes(manager)[1] == {503}


async def test_a_rejected_password_is_in_no_response() -> None:
    async with Cluster(standbys=0, auth="scram-sha-256") as locked:
        conninfo = f"{locked.conninfo()} password={CANARY}"
        async with ConnectionManager(conninfo, min_size=1) as manager:
            await until(lambda: manager.snapshot().hosts[0].status == "rejected")

            detailed = everything(manager, details=True)

    assert "password authentication failed" in detailed
    assert CANARY not in detailed


async def test_a_report_needs_no_connection(alone: Cluster, moor: Callable[..., Any]) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    (conn,) = await hold(manager, 1)

    async with asyncio.timeout(1):
        assert (await manager.health()).ready
    await manager.putconn(conn)
