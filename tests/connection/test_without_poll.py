"""Where a platform has no `poll()`, `register_at_fork()` or `fcntl`, `select()` does as well."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

PROGRAM = """
import os, select, sys
sys.modules["fcntl"] = sys.modules["termios"] = None
for name in ("poll", "epoll", "POLLIN", "POLLHUP", "POLLERR", "POLLRDHUP"):
    delattr(select, name)
del os.register_at_fork, os.fork

import asyncio

from pgmoor import ConnectionManager

async def main():
    async with ConnectionManager(os.environ["DATABASE_URL"], min_size=2) as manager:
        await manager.wait()
        conn, other = await manager.getconn(), await manager.getconn()
        gone = other.info.backend_pid
        assert not other.has_unread() and not other.has_ended()
        await manager.putconn(other)
        await conn.execute("select pg_terminate_backend(%s, 5000)", [gone])
        while not other.has_ended():  # a farewell is there before the end
            await asyncio.sleep(0.001)
            other.pgconn.consume_input()
        await manager.putconn(conn)
        for _ in range(3):  # whichever was lent last, the dead one is found and replaced
            async with manager.connection() as conn, manager.connection() as other:
                for each in (conn, other):
                    await each.execute("select 1")
                    assert each.info.backend_pid != gone
        assert (await manager.health(fresh=True)).ready
        print(type(asyncio.get_running_loop()._selector).__name__)

asyncio.run(main())
"""


async def test_dead_connections_are_found_by_select(alone: Cluster) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "DATABASE_URL": alone.conninfo()},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "SelectSelector\n"
