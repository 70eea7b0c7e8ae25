"""What a role's defaults, its rights and other programs' sessions do to the question who a host is.

None of it makes a server another one: the fence holds, and no role changes.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.events import Failover, HostDown, RoleChanged, SplitBrain
from support import Workload, probed, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

BRISK = {"health_interval": 0.1, "health_timeout": 0.5, "max_lifetime": 0.2}
SERIALIZABLE = "-c default_transaction_isolation=serializable"
DEFERRABLE = f"{SERIALIZABLE} -c default_transaction_deferrable=on"
DEFAULTS = pytest.mark.parametrize(
    "options",
    [SERIALIZABLE, DEFERRABLE, "-c default_transaction_isolation=repeatable\\ read"],
    ids=["serializable", "deferrable", "repeatable read"],
)
# What a hardened server may take from everybody, and what somebody may take by mistake.
RIGHTS = {
    "the control file": ["pg_control_system()", "pg_control_checkpoint()"],
    "the timeline": ["pg_walfile_name(pg_lsn)"],
}


@pytest.fixture
async def app(pair: Cluster) -> Cluster:
    """The pair of servers, with a role `app` that is no superuser."""
    await pair[0].sql("create role app login")
    await pair[0].sql("grant all on work to app")
    await pair[1].wait_for("select count(*) = 1 from pg_roles where rolname = 'app'")
    for node in pair.nodes:
        node.member.touched = True  # so that they are reset as a whole
    return pair


async def _fenced(cluster: Cluster, manager: Any) -> None:
    """Move the role of primary to the second server; nothing goes to the first when it is back."""
    async with Workload(manager, tasks=6) as work:
        await cluster[0].kill()
        await cluster[1].promote()
        await recorder(manager).wait_for(Failover)
        await work.back(monotonic())
        moved = monotonic()
        await cluster[0].start()
        await recorder(manager).wait_for(
            SplitBrain, where=lambda event: event.host.endswith(f":{cluster[0].port}")
        )
        await manager.drain()
        await work.flowing(monotonic())
        await work.flowing(monotonic())

    acknowledged = work.acknowledged_since(moved)
    assert acknowledged
    assert acknowledged <= {key for (key,) in await cluster[1].sql("select id from work")}
    assert not acknowledged & {key for (key,) in await cluster[0].sql("select id from work")}
    assert len(recorder(manager).of(Failover)) == 1


@DEFAULTS
async def test_the_fence_holds_whatever_isolation_is_the_default(
    pair: Cluster, moor: Callable[..., Any], options: str
) -> None:
    manager = await moor(*pair.nodes, **BRISK, kwargs={"options": options})

    await _fenced(pair, manager)


async def test_the_fence_holds_when_the_role_s_default_is_changed_on_the_way(
    app: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*app.nodes, **BRISK, kwargs={"user": "app"})
    await manager.wait()
    await app[0].sql("alter role app set default_transaction_isolation = 'serializable'")
    await app[1].wait_for("select count(*) = 1 from pg_db_role_setting")

    await _fenced(app, manager)


@DEFAULTS
async def test_a_standby_is_one_whatever_isolation_is_the_default(
    pair: Cluster, moor: Callable[..., Any], options: str
) -> None:
    manager = await moor(*pair.nodes, target="standby", kwargs={"options": options})
    await manager.wait()
    async with manager.connection():
        pass

    assert [host.role for host in manager.snapshot().hosts] == ["primary", "standby"]


@pytest.mark.parametrize("what", RIGHTS)
async def test_a_right_that_is_missing_for_a_moment_does_not_lift_the_fence(
    app: Cluster, moor: Callable[..., Any], what: str
) -> None:
    manager = await moor(*app.nodes, **BRISK, kwargs={"user": "app"})
    async with Workload(manager, tasks=6) as work:
        await app[0].kill()
        await app[1].promote()
        await recorder(manager).wait_for(Failover)
        await work.back(monotonic())
        moved = monotonic()
        await app[0].start()
        await recorder(manager).wait_for(SplitBrain)
        for node in app.nodes:
            for function in RIGHTS[what]:
                await node.sql(f"revoke execute on function {function} from public")
        for host in range(2):  # each is asked while the right is missing
            await probed(manager, host)
        await manager.drain()
        await work.flowing(monotonic())
        assert manager.snapshot().hosts[0].stale
        for node in app.nodes:
            for function in RIGHTS[what]:
                await node.sql(f"grant execute on function {function} to public")
        await work.flowing(monotonic())

    acknowledged = work.acknowledged_since(moved)
    assert not acknowledged & {key for (key,) in await app[0].sql("select id from work")}
    changed = {event.host for event in recorder(manager).of(RoleChanged)}
    assert changed == {f"{app[1].host}:{app[1].port}"}  # by the promotion
    assert len(recorder(manager).of(Failover)) == 1


async def test_a_standby_that_is_promoted_while_it_hides_its_timeline_is_not_taken_for_stale(
    app: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*app.nodes, **BRISK, kwargs={"user": "app"})
    await manager.wait()
    await app[0].sql("revoke execute on function pg_walfile_name(pg_lsn) from public")
    await app[1].wait_for(
        "select not has_function_privilege('app', 'pg_walfile_name(pg_lsn)', 'execute')"
    )
    await probed(manager, 1)
    async with Workload(manager, tasks=4) as work:
        await app[0].kill()
        await app[1].promote()
        await recorder(manager).wait_for(Failover)
        await work.back(monotonic())
        await probed(manager, 1)

    # Any other server of the new timeline would make it stale if it were thought to be on the old.
    assert manager.snapshot().hosts[1].timeline == 2
    assert len(recorder(manager).of(Failover)) == 1
    assert not recorder(manager).of(SplitBrain)


async def test_a_server_that_hides_its_control_file_is_fenced_from_the_start(
    app: Cluster, moor: Callable[..., Any]
) -> None:
    for function in RIGHTS["the control file"]:
        await app[0].sql(f"revoke execute on function {function} from public")
    await app[1].wait_for(
        "select not has_function_privilege('app', 'pg_control_system()', 'execute')"
    )
    manager = await moor(*app.nodes, **BRISK, kwargs={"user": "app"})
    await manager.wait()
    assert [host.role for host in manager.snapshot().hosts] == ["primary", "standby"]

    await _fenced(app, manager)


async def test_a_server_that_lacked_a_right_at_first_is_known_soon_after_it_has_it(
    app: Cluster, moor: Callable[..., Any]
) -> None:
    function = "pg_walfile_name(pg_lsn)"
    await app[0].sql(f"revoke execute on function {function} from public")
    manager = await moor(app[0], **BRISK, kwargs={"user": "app"})
    await manager.wait()
    assert manager.snapshot().hosts[0].timeline is None

    await app[0].sql(f"grant execute on function {function} to public")

    await until(lambda: manager.snapshot().hosts[0].timeline == 1)
    assert recorder(manager).of(HostDown) == []


async def test_a_server_that_lacks_a_right_is_asked_in_full_as_soon_as_it_is_promoted(
    app: Cluster, moor: Callable[..., Any]
) -> None:
    function = "pg_walfile_name(pg_lsn)"
    await app[0].sql(f"revoke execute on function {function} from public")
    await app[1].wait_for(f"select not has_function_privilege('app', '{function}', 'execute')")
    manager = await moor(*app.nodes, **BRISK, kwargs={"user": "app"})
    await manager.wait()
    for host in range(2):
        await probed(manager, host)
    for host in manager._settings.hosts:
        identity = manager._runtime.connectors.to(host).identity
        identity._again_at, identity._lacking_since = float("inf"), 0.0  # never by itself
    await app[0].sql(f"grant execute on function {function} to public")
    await app[1].wait_for(f"select has_function_privilege('app', '{function}', 'execute')")
    await app[0].kill()
    await app[1].promote()

    await until(lambda: manager.snapshot().hosts[1].timeline == 2)


@pytest.mark.parametrize("setting", ["TimeZone = 'Asia/Tokyo'", "DateStyle = 'German, DMY'"])
async def test_one_server_under_two_addresses_is_one_in_any_time_zone(
    equals: list[Any], alone: Cluster, moor: Callable[..., Any], setting: str
) -> None:
    manager = await moor(*equals, health_interval=0.1)
    await until(lambda: all(host.status == "up" for host in manager.snapshot().hosts))
    await manager.wait()
    await alone[0].sql(f"alter role postgres set {setting}")
    try:
        equals[1].reset()  # its next probe connection has the new setting, the other one has not
        for host in range(2):
            await probed(manager, host)
    finally:
        await alone[0].sql("alter role postgres reset all")

    assert recorder(manager).of(SplitBrain) == []
    table = manager._runtime.live.evidence.table
    assert table[0].started == table[1].started
