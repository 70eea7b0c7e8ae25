"""What a server says of the connections that a pool has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

MARK = "pooled"
NO_SERVER = "host=127.0.0.1 port=1 user=postgres dbname=postgres connect_timeout=2"


class Watched:
    """A server on which the connections that `mark` has configured are counted, and no probes."""

    def __init__(self, cluster: Cluster) -> None:
        self.node = cluster[0]
        self.conninfo = cluster.conninfo()

    async def mark(self, conn: psycopg.AsyncConnection[Any]) -> None:
        """Mark a connection as a pool's; to be given as `configure`."""
        await conn.execute(f"set application_name = '{MARK}'")
        await conn.commit()

    async def pids(self) -> set[int]:
        """Return the process ids of the pool's connections."""
        rows = await self.node.sql(
            f"select pid from pg_stat_activity where application_name = '{MARK}'"
        )
        return {row[0] for row in rows}

    async def has(self, count: int, timeout: float = 5) -> None:
        """Wait until the pool has so many connections: the server takes a moment to end one."""
        found = f"(select count(*) from pg_stat_activity where application_name = '{MARK}')"
        try:
            await self.node.wait_for(f"select {found} = {count}", timeout=timeout)
        except Exception as error:
            raise AssertionError(f"{len(await self.pids())} and not {count}") from error

    async def end(self, *pids: int) -> None:
        """End sessions, and wait until they are gone."""
        for pid in pids:
            await self.node.sql(f"select pg_terminate_backend({pid}, 5000)")


async def port_of(manager: ConnectionManager) -> int:
    """Return the port of the server that a manager's connection leads to."""
    async with manager.connection() as conn:
        row = await (await conn.execute("select inet_server_port()")).fetchone()
        assert row is not None
        return int(row[0])
