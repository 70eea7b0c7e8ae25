"""The soak: random faults on three servers under every kind of user, and what must hold."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pgmoor._core.work.keys import INSTALL_SQL
from pgmoor.testing import Cluster, FaultProxy
from soak import lists
from soak.journal import Journal
from soak.ledger import SCHEMA
from soak.poolers import Poolers
from soak.run import Run

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = {
    "max_connections": "50",
    "superuser_reserved_connections": "6",
    "synchronous_commit": "on",
}


async def prepare(cluster: Cluster) -> None:
    """Create the table and the roles."""
    for statement in (
        *SCHEMA.split(";")[:-1],
        "create role soak login",
        "create role hog login",
        "grant all on soak to soak",
        *lists.SCHEMA.split(";"),
        *INSTALL_SQL.split(";\n\n"),
        "grant usage on schema pgmoor to soak",
        "grant all on soak_lists, pgmoor.transactions to soak",
    ):
        await cluster[0].sql(statement)


@pytest.mark.soak
async def test_soak(
    seed: int, summary: list[str], pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    journal = Journal()
    # The primary waits for any one standby: each acknowledged commit is on two servers.
    async with Cluster(standbys=2, synchronous=True, settings=SERVERS) as cluster:
        await prepare(cluster)
        with ExitStack() as stack:
            doors = {
                node: stack.enter_context(FaultProxy(node.host, node.port))
                for node in cluster.nodes
            }
            poolers = stack.enter_context(Poolers(seed, cluster.nodes))
            history = tmp_path / "history.json"
            run = Run(seed, cluster, doors, poolers, journal=journal, history=history)
            try:
                await run.go(pytestconfig.getoption("--soak-seconds"))
            finally:
                for node in cluster.nodes:
                    shutil.copy(node.log_file, tmp_path / f"{node.name}.log")
                summary += [*run.report(), journal.complaint() or "no violation"]
    if journal.violations:
        summary.append(f"the servers' logs are in {tmp_path}")
        pytest.fail(f"seed {seed}\n{journal.complaint()}", pytrace=False)
