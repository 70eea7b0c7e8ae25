"""The faults, each on a primary and a streaming standby; every client connects through a proxy.

A fault returns instants of `monotonic()`: when it began, when a server accepted writes again, and
the like.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

from pgmoor.testing import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgmoor.testing import Cluster, FaultProxy

OTHERS = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
COMMITS = 16  # that are lost; as many as there are tasks
STRUCK = 5.0  # seconds to wait for them: a library in autocommit mode sends none
RENEWAL = 0.2  # seconds between the ends of two connections of the application


@dataclass
class Scene:
    """The servers, how the clients reach them, and how long an outage lasts."""

    cluster: Cluster
    proxies: Sequence[FaultProxy]
    outage: float
    stale: float
    promote_after: float
    flows: Callable[[float], Awaitable[bool]]
    """Whether all tasks of the application work within a number of seconds."""


@dataclass
class Instants:
    began: float
    effective: float
    """Since when no operation could succeed by being ahead of the fault."""
    writable: float
    """When a server accepted writes again; `began` if one always did."""
    counts_from: float
    """Since when *back* counts."""
    primary: int = 0
    """The server that is the primary at the end."""
    lost: int | None = None
    """Rows that the application wrote to a server that is no longer the primary."""


async def _promoted(scene: Scene, began: float) -> Instants:
    effective = monotonic()
    await asyncio.sleep(scene.promote_after)
    await promote(scene)
    return Instants(began, effective, monotonic(), began, primary=1)


async def promote(scene: Scene) -> None:
    """Promote the standby; it waits for no other one from then on."""
    await Stage(scene.cluster).promote(scene.cluster[1])


async def crash(scene: Scene) -> Instants:
    """The primary is killed, the standby promoted."""
    began = monotonic()
    await scene.cluster[0].kill()
    return await _promoted(scene, began)


async def silence(scene: Scene) -> Instants:
    """No packet to or from the primary passes any more, the standby is promoted."""
    began = monotonic()
    scene.proxies[0].silent()
    return await _promoted(scene, began)


async def freeze(scene: Scene) -> Instants:
    """Every process of the primary is stopped, the standby is promoted."""
    began = monotonic()
    await scene.cluster[0].freeze()
    return await _promoted(scene, began)


async def demotion(scene: Scene) -> Instants:
    """The primary turns read-only and keeps its connections, the standby is promoted."""
    began = monotonic()
    await scene.cluster[0].demote()
    return await _promoted(scene, began)


async def outage(scene: Scene) -> Instants:
    """The only server is killed, and started again some seconds later."""
    began = monotonic()
    await scene.cluster[0].kill()
    await asyncio.sleep(scene.outage)
    await scene.cluster[0].start()
    back = monotonic()
    return Instants(began, back, back, back)


async def terminate(scene: Scene) -> Instants:
    """Every backend of the primary is terminated at once; the server lives."""
    began = monotonic()
    await scene.cluster[0].sql(
        f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OTHERS}"
    )
    return Instants(began, monotonic(), began, began)


async def stale(scene: Scene) -> Instants:
    """The killed primary comes back, writable, after the promotion; connections are renewed.

    Every fifth of a second a connection of the application to the new primary ends, as if it had
    reached its maximum age. The rows that the stale server gets are counted.
    """
    await scene.cluster[0].kill()
    await promote(scene)
    await scene.flows(5.0)
    await scene.cluster[0].start()
    began = monotonic()
    while monotonic() < began + scene.stale:
        await asyncio.sleep(RENEWAL)
        await scene.cluster[1].sql(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
            f" WHERE {OTHERS} ORDER BY backend_start LIMIT 1) oldest"
        )
    ended = monotonic()
    return Instants(began, ended, ended, ended, primary=1, lost=await rows_of_stale(scene))


async def rows_of_stale(scene: Scene) -> int:
    """Return how many rows the old primary got since it was started again."""
    query = "SELECT count(*) FROM written WHERE at > pg_postmaster_start_time()"
    try:
        return int((await scene.cluster[0].sql(query))[0][0])
    except psycopg.Error:
        return -1


async def restart(scene: Scene) -> Instants:
    """The primary is shut down and started again at once; there is no promotion."""
    began = monotonic()
    await scene.cluster[0].stop()
    await scene.cluster[0].start()
    writable = monotonic()
    return Instants(began, began, writable, began)


async def _lose_commits(scene: Scene, *, delivered: bool) -> Instants:
    began = monotonic()
    scene.proxies[0].lose_commits(COMMITS, delivered=delivered)
    while scene.proxies[0].commits_lost < COMMITS and monotonic() < began + STRUCK:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return Instants(began, monotonic(), began, began)


async def commit_undelivered(scene: Scene) -> Instants:
    """Sixteen COMMITs don't reach the server, and their connections are reset."""
    return await _lose_commits(scene, delivered=False)


async def commit_unanswered(scene: Scene) -> Instants:
    """Sixteen COMMITs are carried out, and their connections are reset before the answers."""
    return await _lose_commits(scene, delivered=True)


FAULTS: dict[str, Callable[[Scene], Awaitable[Instants]]] = {
    "crash": crash,
    "silence": silence,
    "freeze": freeze,
    "demotion": demotion,
    "outage": outage,
    "terminate": terminate,
    "restart": restart,
    "commit-undelivered": commit_undelivered,
    "commit-unanswered": commit_unanswered,
    "stale": stale,
}
