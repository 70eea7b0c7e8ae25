"""A program that opens a manager and forks while a query runs; prints the outcome as JSON.

Run by `faults/test_forks.py`: python forking.py LOOP HOW CONNINFO. HOW is `process`, for
multiprocessing with a new loop in the child, or `exit`, for a bare `os.fork()` whose child exits
normally and closes the loop that it inherited.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import multiprocessing
import os
import sys
from time import monotonic
from typing import Any

from pgmoor import ConnectionManager, ManagerClosed

if sys.version_info >= (3, 12):  # uvloop has a thread
    import warnings

    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)


async def meet(manager: ConnectionManager, held: Any) -> list[str]:
    """Return the errors that a child gets from the manager, at once."""
    began = monotonic()
    met = []
    give_back = functools.partial(manager.putconn, held)
    for ask in (manager.getconn, manager.wait, manager.check, manager.drain, give_back):
        try:
            await ask()
        except ManagerClosed as error:
            met.append(str(error))
    try:
        async with manager.connection():
            pass
    except ManagerClosed as error:
        met.append(str(error))
    await manager.close()
    assert monotonic() - began < 0.5
    return met


def in_process(manager: ConnectionManager, held: Any, answer: Any) -> None:
    """Run in the child that `multiprocessing` starts."""
    answer.send(asyncio.run(meet(manager, held)))
    del manager, held
    gc.collect()


async def fork(manager: ConnectionManager, held: Any, how: str, answer: Any) -> int:
    """Fork; return only in the parent, with the child's exit code."""
    if how == "process":
        context = multiprocessing.get_context("fork")
        process = context.Process(target=in_process, args=(manager, held, answer))
        process.start()
        while process.is_alive():  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.01)
        return process.exitcode or 0
    if (pid := os.fork()) == 0:
        met = []
        for ask in (manager.getconn, functools.partial(manager.putconn, held)):
            try:
                await ask()
            except ManagerClosed as error:
                met.append(str(error))
        answer.send(met)
        gc.collect()
        sys.exit(0)  # asyncio cancels all tasks
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):  # noqa: ASYNC110, ASYNC222  as above
        await asyncio.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])


async def main(how: str, conninfo: str) -> dict[str, Any]:
    events: list[str] = []
    async with ConnectionManager(conninfo, min_size=3, health_interval=0.05) as manager:
        await manager.wait()
        manager.subscribe(lambda event: events.append(type(event).__name__))
        held = await manager.getconn()
        pids = await sessions(held)
        query = asyncio.create_task(held.execute("select pg_sleep(0.4)"))
        await asyncio.sleep(0.1)  # by now it runs in the server
        parent, child = multiprocessing.Pipe()
        code = await fork(manager, held, how, child)
        async with asyncio.timeout(3):
            await query
        await held.commit()
        await manager.putconn(held)
        conns = [await manager.getconn(timeout=3) for _ in range(3)]
        after = [await sessions(conn) for conn in conns]
        for conn in conns:
            await manager.putconn(conn)
        health = await manager.health(fresh=True)
    return {
        "met": parent.recv() if parent.poll() else None,
        "code": code,
        "same": all(now == pids for now in after),
        "events": events,
        "status": health.status,
    }


async def sessions(conn: Any) -> list[int]:
    """Return the server's process ids of all sessions, the probe's included."""
    cursor = await conn.execute(
        "select pid from pg_stat_activity where application_name = %s order by 1",
        [sys.argv[2]],
    )
    found = [pid for (pid,) in await cursor.fetchall()]
    await conn.commit()
    return found


if __name__ == "__main__":
    loop, way, where = sys.argv[1:]
    if loop == "uvloop":
        import uvloop

        factory: Any = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        sys.stdout.write(json.dumps(runner.run(main(way, where))))
