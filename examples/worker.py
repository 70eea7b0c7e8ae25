"""A plain asyncio worker that takes jobs from a table while its primary is killed.

    python examples/worker.py

It starts a primary and a standby, and needs the `testing` extra. Each job is taken, done and marked
in one transaction, so a job whose connection is lost is taken again.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor import ConnectionManager, Retry
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from psycopg import AsyncConnection

JOBS, WORKERS = 300, 4
TAKE = "select id from jobs where done is null order by id limit 1 for update skip locked"
# A job that was done is not taken again, so it does no harm to repeat in doubt.
RETRY = Retry(idempotent=True)


async def do_one(conn: AsyncConnection[Any]) -> bool:
    """Do one job; return False if none is left."""
    job = await (await conn.execute(TAKE)).fetchone()
    if job is None:
        return False
    await asyncio.sleep(0.01)  # the work
    await conn.execute("update jobs set done = now() where id = %s", job)
    return True


async def work(manager: ConnectionManager) -> None:
    """Do jobs until none is left. One whose connection is lost is taken again."""
    while await manager.run(do_one, timeout=10, retry=RETRY):
        pass


async def main() -> None:
    async with Cluster(standbys=1, synchronous=True) as servers:
        await servers[0].sql("create table jobs (id int primary key, done timestamptz)")
        await servers[0].sql(f"insert into jobs select generate_series(1, {JOBS})")
        async with ConnectionManager(servers.conninfo(), min_size=WORKERS) as manager:
            workers = [asyncio.create_task(work(manager)) for _ in range(WORKERS)]
            await asyncio.sleep(0.3)
            print("the primary is killed")
            began = monotonic()
            await servers[0].kill()
            await servers[1].promote()
            # A synchronous primary would wait for a standby, and there is none left.
            await servers[1].sql("alter system set synchronous_standby_names = ''")
            await servers[1].sql("select pg_reload_conf()")
            print(f"the standby takes writes after {monotonic() - began:.2f} s")
            await asyncio.gather(*workers)
            async with manager.connection() as conn:
                count = "select count(*) from jobs where done is not null"
                row = await (await conn.execute(count)).fetchone()
    print(f"{row and row[0]} of {JOBS} jobs done")


asyncio.run(main())
