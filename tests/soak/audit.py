"""Checks of what must hold when all is well: rows, connections, descriptors, tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from soak.holders import descriptors, holders
from soak.ledger import SELECT, compare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, FaultProxy, Node
    from soak.journal import Journal
    from soak.ledger import Ledger

MOST = 12  # connections of a pool, the maximum that `resize` uses
PATIENCE = 5.0  # seconds for a server to notice what was closed here
TO_FILL = 10.0  # seconds for a pool to hold `min_size` again, also after a rejected login
COUNT = (
    "select count(*) from pg_stat_activity"
    " where application_name like %s and backend_type = 'client backend'"
)


async def _difference(look: Callable[[], Awaitable[str]], patience: float = PATIENCE) -> str:
    """Return what is still wrong after *patience* seconds; empty as soon as nothing is."""
    deadline = monotonic() + patience
    while True:
        difference = await look()
        if not difference or monotonic() > deadline:
            return difference
        await asyncio.sleep(0.05)


async def connections(
    managers: Sequence[tuple[ConnectionManager, str]],
    doors: dict[Node, FaultProxy],
    journal: Journal,
) -> None:
    """Compare the servers' sessions with what unused managers report; names are the sessions'.

    The managers share their probes: a host has one session of a probe at least, and one of each
    manager at most.
    """

    async def look() -> str:
        wrong: list[str] = []
        probes = dict.fromkeys(doors, 0)
        for manager, name in managers:
            size = manager.get_stats()["pool_size"]
            for host in (await manager.health()).hosts:
                node = next(n for n, door in doors.items() if host.host.endswith(f":{door.port}"))
                ((found,),) = await node.sql(COUNT, name)
                pooled = size if host.current else 0
                probes[node] += found - pooled
                if found - pooled not in (0, 1):
                    wrong.append(f"{node.name} has {found} sessions of {name}, {pooled} pooled")
            wrong += _misreported(manager, name)
        wrong += [f"{node.name} is not probed" for node, count in probes.items() if not count]
        return ", ".join(wrong)

    if difference := await _difference(look, TO_FILL):
        journal.violated("connections", difference)


def _misreported(manager: ConnectionManager, name: str) -> list[str]:
    stats = manager.get_stats()
    size, idle, waiting = (
        stats[key] for key in ("pool_size", "pool_available", "requests_waiting")
    )
    wrong = []
    if size != idle:
        wrong.append(f"{size - idle} connections of {name} are reported in use")
    # After `resize` lowered the limit, the pool shrinks one connection at a time.
    if not manager.min_size <= size <= MOST:
        wrong.append(f"{name}: {size} connections, at least {manager.min_size}, at most {MOST}")
    if waiting:
        wrong.append(f"{waiting} callers of {name} are reported waiting")
    return wrong


async def capacity(manager: ConnectionManager, journal: Journal) -> None:
    """Check that the manager can lend `max_size` connections at once, and takes them back."""
    wanted = range(manager.max_size)
    takers = [asyncio.create_task(manager.getconn(timeout=TO_FILL)) for _ in wanted]
    await asyncio.wait(takers)
    for taker in takers:
        if error := taker.exception():
            journal.violated("capacity", f"{manager.max_size} at once: {error!r}")
        else:
            await manager.putconn(taker.result())


async def sessions_left(cluster: Cluster, journal: Journal) -> None:
    """Check that no server has a session of a closed manager."""

    async def look() -> str:
        counts = {node.name: (await node.sql(COUNT, "soak%"))[0][0] for node in cluster.nodes}
        return ", ".join(f"{name} has {count}" for name, count in counts.items() if count)

    if difference := await _difference(look):
        journal.violated("sessions left", difference)


async def rows(cluster: Cluster, primary: Node, ledger: Ledger, journal: Journal) -> None:
    """Compare what the writers know with what the servers hold."""
    held = [key for (key,) in await primary.sql(SELECT)]
    verdict = compare(ledger.rows, held)
    for rule, keys in (
        ("acknowledged and lost", verdict.lost),
        ("written twice", verdict.twice),
        ("written without commit", verdict.uncommitted),
    ):
        if keys:
            known = [ledger.rows[key].describe(journal.began) for key in keys if key in ledger.rows]
            journal.violated(rule, f"{len(keys)} rows on {primary.name}: {known[:10]}")
    for node in cluster.nodes:
        await node.wait_for(f"select count(*) = {len(held)} from soak", timeout=30)


class DeadSockets:
    """Sockets of this process that lead nowhere any more, and are not closed."""

    def __init__(self) -> None:
        self._before: set[str] = set()  # those at the last look; one may be about to be closed

    def look(self, journal: Journal) -> None:
        """Check that none has been one for long."""
        names = {name for name in descriptors().values() if name.startswith("socket:")}
        dead = names - _sockets().keys()
        for name in dead & self._before:
            journal.violated("dead socket", f"{name}: {holders(name)}")
        self._before = dead - self._before


class Baseline:
    """The descriptors and tasks of this process at one instant."""

    def __init__(self) -> None:
        self._names = list(descriptors().values())
        self._tasks = asyncio.all_tasks()

    async def compare(self, journal: Journal) -> None:
        """Check that none has been added since."""

        async def tasks() -> str:
            return ", ".join(task.get_name() for task in asyncio.all_tasks() - self._tasks)

        new: list[str] = []  # the names of the descriptors that have been added

        async def files() -> str:
            now = list(descriptors().values())
            more = _kinds(now) - _kinds(self._names)
            if not more:
                return ""
            sockets = _sockets()
            new[:] = [name for name in now if name not in self._names]
            shown = ", ".join(sockets.get(name, name) for name in new)
            return f"{dict(more)}; new ones: {shown}"

        if difference := await _difference(tasks):
            journal.violated("tasks left", difference)
        if difference := await _difference(files):
            held = "; ".join(f"{name}: {holders(name)}" for name in new)
            journal.violated("descriptors left", f"{difference}; {held}")


def _kinds(names: list[str]) -> Counter[str]:
    """Count them by kind (socket, pipe) or file; descriptor numbers may change."""
    return Counter(name.partition(":[")[0] for name in names)


def _sockets() -> dict[str, str]:
    """Return what each socket that is in use leads to, by the kernel's name for it."""
    found = {}
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for row in _table(kind):
            here, there = (int(end.partition(":")[2], 16) for end in row[1:3])
            found[f"socket:[{row[9]}]"] = f"{kind} {here} to {there} in state {row[3]}"
    return found | {f"socket:[{row[6]}]": "unix" for row in _table("unix")}


def _table(kind: str) -> list[list[str]]:
    return [line.split() for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
