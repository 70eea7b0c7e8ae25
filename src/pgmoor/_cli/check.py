"""`pgmoor check`: the hosts behind a conninfo as a table, and whether pgmoor can use them.

It prints hosts, states and failures, none of which contains a password.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from rich.text import Text

from pgmoor import ConnectionManager, NoHostAvailable, PoolExhausted

from .tables import BAD, GOOD, host_table

if TYPE_CHECKING:
    from rich.console import Console

    from pgmoor import Health
    from pgmoor._core.hosts.rules import TargetName


async def check(conninfo: str, target: str | None, timeout: float, console: Console) -> bool:
    """Return whether a connection to a host that satisfies *target* was made in *timeout* seconds.

    Raises `ConfigError` if the conninfo can't be used.
    """
    # The table shows every failure; logged warnings would repeat it.
    logging.getLogger("pgmoor").addHandler(logging.NullHandler())
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    manager = ConnectionManager(
        conninfo,
        target=cast("TargetName | None", target),  # which checks it
        min_size=1,
        timeout=timeout,
        when_down="wait",
    )
    async with manager:
        ready = True
        try:
            await manager.wait(timeout)
        except (NoHostAvailable, PoolExhausted):
            ready = False
        else:
            # Other hosts may not have answered yet.
            await manager.health(fresh=True)
        health = await manager.health()
    _show(health, timeout, console, ready=ready)
    return ready


def _show(health: Health, timeout: float, console: Console, *, ready: bool) -> None:
    console.print(host_table([(host.host, host) for host in health.hosts], fold=True))
    console.print()
    used = next((host for host in health.hosts if host.current), None)
    if ready and used is not None:
        console.print(Text(f"ready: {used.host}, {used.role_label}", style=GOOD))
    else:
        why = "no host satisfies the target" if health.state == "outage" else health.reason
        console.print(Text(f"not ready within {timeout:g} s: {why}", style=BAD))
