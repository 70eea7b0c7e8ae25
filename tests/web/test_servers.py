"""Web servers as processes: start, fork, reload and end, and the sessions that PostgreSQL sees."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest

from serving import RawClient, program

if TYPE_CHECKING:
    from pathlib import Path

    from pgmoor.testing import Cluster
    from serving import Program

UVICORN = ("uvicorn", "webapp:app", "--port", "0")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--workers", "2")
UVLOOP = (*UVICORN, "--loop", "uvloop")
PRELOADED = (*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "--preload", "webapp:app")
NATIVE = (*GUNICORN, "-k", "asgi", "--asgi-disconnect-grace-period", "1", "webapp:app")
AIOHTTP = (*GUNICORN, "-k", "aiohttp.GunicornWebWorker", "--preload", "webapp:application")
SERVERS = {  # each with the number of processes that have a manager
    "uvicorn": (UVLOOP, 1),
    "preloaded": (PRELOADED, 2),
    "native": (NATIVE, 2),
    "aiohttp": (("webapp",), 1),
    "aiohttp-workers": (AIOHTTP, 2),
}
CLIENTS = 8
SLEEPS = "exists (select from pg_stat_activity where query ~ '^select pg_sleep' and state='active')"
OF_A_MANAGER = 3  # sessions: the pool of two, and the probe


def url(cluster: Cluster, name: str = "web") -> str:
    return cluster.conninfo(application_name=name)


async def has_sessions(cluster: Cluster, count: int, name: str = "web") -> None:
    """Wait until the server has *count* sessions of the app."""
    found = f"select count(*) from pg_stat_activity where application_name = '{name}'"
    try:
        await cluster[0].wait_for(f"select ({found}) = {count}")
    except Exception as error:
        raise AssertionError((await cluster[0].sql(found))[0][0]) from error


class Load:
    """Clients that write rows one after the other, each over one HTTP connection."""

    def __init__(self, base: str, name: str) -> None:
        self.statuses: Counter[int] = Counter()
        self.acknowledged: set[str] = set()
        self._base = base
        self._name = name
        self._numbers = itertools.count()
        self._enough = asyncio.Event()

    async def client(self) -> None:
        """Write until the server is gone."""
        async with httpx.AsyncClient(base_url=self._base, timeout=10) as client:
            while True:
                key = f"{self._name}-{next(self._numbers)}"
                try:
                    response = await client.post(f"/rows/{key}")
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                    return
                self.statuses[response.status_code] += 1
                if response.status_code == 200:
                    self.acknowledged.add(key)
                if len(self.acknowledged) > 5 * CLIENTS:
                    self._enough.set()

    async def flowing(self) -> None:
        """Wait until each client has written some rows."""
        await asyncio.wait_for(self._enough.wait(), 10)


async def check_workers(base: str, parent: int) -> None:
    """Send requests until both workers have responded: each has its own connections."""
    backends: dict[int, set[int]] = {}
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        while len(backends) < 2:
            headers = {"Connection": "close"}  # or the same worker responds again
            try:
                response = (await client.get(f"{base}/who", headers=headers)).json()
            except httpx.RemoteProtocolError:
                continue  # a worker that is only starting may drop what it has accepted
            backends.setdefault(response["process"], set()).add(response["backend"])
    one, other = backends.values()
    assert not one & other
    assert parent not in backends


async def check_disconnect(base: str, cluster: Cluster) -> None:
    """Disconnect in mid-query: gunicorn's own worker cancels the request after its grace period."""
    async with httpx.AsyncClient(base_url=base) as client:
        with RawClient(client, "/sleep"):
            await cluster[0].wait_for(f"select {SLEEPS}")
        await cluster[0].wait_for(f"select not {SLEEPS}", timeout=20)  # it would sleep for 60


@pytest.mark.thorough
async def test_requests_under_way_at_sigterm_succeed_and_no_session_is_left(alone: Cluster) -> None:
    async def check(name: str, command: tuple[str, ...], managers: int) -> None:
        async with program(*command, DATABASE_URL=url(alone, name)) as server:
            base = await server.url()
            if managers == 2:
                await check_workers(base, server.process.pid)
            if command is NATIVE:
                await check_disconnect(base, alone)
            load = Load(base, name)
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(load.client())
                await load.flowing()
                await has_sessions(alone, managers * OF_A_MANAGER, name)
                took = await server.terminate(10)

        assert set(load.statuses) == {200}, server.output
        assert took < 5, name
        written = {key for (key,) in await alone[0].sql("select id from work")}
        assert load.acknowledged <= written
        await has_sessions(alone, 0, name)
        assert "Traceback" not in server.output, server.output

    async with asyncio.TaskGroup() as group:
        for name, (command, managers) in SERVERS.items():
            group.create_task(check(name, command, managers))


async def test_a_server_does_not_start_with_a_manager_opened_before_the_fork(
    alone: Cluster,
) -> None:
    async with program(*PRELOADED, DATABASE_URL=url(alone), OPEN_EARLY="1") as server:
        await server.says("'web' was opened before a fork; make and open one in each process")
        async with asyncio.timeout(10):
            assert await server.process.wait() != 0
    await has_sessions(alone, 0)


async def test_a_reload_leaves_no_connection_behind(alone: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "reloaded.py"
    source.write_text("from webapp import app\n")
    reload = ("uvicorn", "reloaded:app", "--port", "0", "--reload", "--reload-dir", str(tmp_path))
    paths = f"{tmp_path}:{__file__.rpartition('/web/')[0]}"
    async with program(*reload, DATABASE_URL=url(alone), PYTHONPATH=paths) as server:
        base = await server.url()
        async with httpx.AsyncClient(base_url=base) as client:
            before = await who(client, server)
            source.write_text("from webapp import app  # changed\n")
            async with asyncio.timeout(20):
                while (after := await who(client, server))["process"] == before["process"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)  # the server announces no reload
        await has_sessions(alone, OF_A_MANAGER)
        alive = {pid for (pid,) in await alone[0].sql("select pid from pg_stat_activity")}
        assert after["backend"] in alive
        assert before["backend"] not in alive


async def who(client: httpx.AsyncClient, server: Program) -> dict[str, int]:
    """Return the process and backend of the next response."""
    while True:
        try:
            found: dict[str, int] = (await client.get("/who")).json()
        except httpx.TransportError:
            assert server.process.returncode is None, server.output
            await asyncio.sleep(0.05)
        else:
            return found


async def test_uvicorns_graceful_shutdown_limit_leaves_no_session(alone: Cluster) -> None:
    limited = (*UVLOOP, "--timeout-graceful-shutdown", "1")
    async with (
        program(*limited, DATABASE_URL=url(alone)) as server,
        httpx.AsyncClient(base_url=await server.url(), timeout=20) as client,
    ):
        assert (await client.get("/who")).json()["loop"] == "uvloop"
        sleeping = asyncio.create_task(client.get("/sleep"))
        await alone[0].wait_for(f"select {SLEEPS}")
        took = await server.terminate(10)
        await asyncio.wait([sleeping])
        sleeping.exception()
    assert 0.8 < took < 4
    await has_sessions(alone, 0)
