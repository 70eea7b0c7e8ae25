"""Who gives a connection back without ending its transaction is told so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pgmoor.testing import Cluster


async def test_the_warning_of_a_rollback_names_the_host_and_the_task(
    alone: Cluster, moor: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    manager = await moor(*alone, name="orders", close_returns=True, min_size=1, max_size=1)

    async def forgets_to_commit(close: Callable[[Any], Any]) -> None:
        conn = await manager.getconn()
        await conn.execute("select 1")
        await close(conn)

    for close in (manager.putconn, lambda conn: conn.close()):
        caplog.clear()
        await asyncio.create_task(forgets_to_commit(close), name="report")
        (record,) = [record for record in caplog.records if record.name == "pgmoor.pool"]
        assert record.levelname == "WARNING"
        assert vars(record)["pgmoor_event"] == "RolledBack"
        assert vars(record)["pgmoor_manager"] == "orders"
        assert vars(record)["pgmoor_host"] == f"{alone[0].host}:{alone[0].port}"
        assert (vars(record)["pgmoor_status"], vars(record)["pgmoor_task"]) == ("INTRANS", "report")
