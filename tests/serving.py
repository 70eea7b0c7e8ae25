"""Web servers for tests: uvicorn and aiohttp in the test's own loop, or any as a process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import httpx2 as httpx
import uvicorn
from aiohttp import web

from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor import ConnectionManager

TESTS = Path(__file__).parent
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


@asynccontextmanager
async def uvicorn_server(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an ASGI app with uvicorn; yield a client that talks to it over a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=3)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started or serving.done())
            if serving.done():
                serving.result()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                yield client
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 10)


@asynccontextmanager
async def aiohttp_server(app: web.Application, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an app with aiohttp's runner; yield a client."""
    runner = web.AppRunner(app, shutdown_timeout=5, **options)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            yield http
    finally:
        await runner.cleanup()


class RawClient:
    """A client that sends one GET, and reads the response as slowly as the test wants."""

    def __init__(self, base: httpx.AsyncClient, path: str) -> None:
        assert base.base_url.port is not None
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", base.base_url.port))
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
        )
        self.socket.setblocking(False)

    async def begin(self) -> bytes:
        """Return the beginning of the response, and leave the rest unread."""
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self.socket, 1024)

    async def rest(self) -> int:
        """Read until the server closes; return the number of bytes."""
        loop, count = asyncio.get_running_loop(), 0
        async with asyncio.timeout(20):
            while data := await loop.sock_recv(self.socket, 1 << 20):
                count += len(data)
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Close the socket without reading the rest."""
        self.socket.close()


class Program:
    """A server in its own process, with its workers and its output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self._said = asyncio.Event()
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.output += line.decode()
            self._said.set()
        self._said.set()

    async def says(self, pattern: str | re.Pattern[str], timeout: float = 20) -> re.Match[str]:
        """Wait until the output contains *pattern*."""
        async with asyncio.timeout(timeout):
            while (found := re.search(pattern, self.output)) is None:
                assert not self.reader.done(), self.output
                self._said.clear()
                await self._said.wait()
        return found

    async def url(self) -> str:
        """Return the URL that the server prints at its start."""
        return (await self.says(ADDRESS)).group()

    async def terminate(self, limit: float) -> float:
        """Send SIGTERM; return the seconds until the process has ended."""
        began = monotonic()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(limit):
            await self.process.wait()
        return monotonic() - began

    async def end(self) -> None:
        """End it: with SIGTERM if possible, as its own servers are in sessions of their own."""
        try:
            await self.terminate(5)
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()


@asynccontextmanager
async def program(*command: str, cwd: Path = TESTS, **env: str) -> AsyncIterator[Program]:
    """Run `python -m` *command*; end it and everything that it started."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", *command),
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    started = Program(process)
    try:
        yield started
    finally:
        if process.returncode is None:
            await started.end()
        await started.reader


async def unused(manager: ConnectionManager, timeout: float = 5) -> None:
    """Wait until all connections are returned."""
    await until(lambda: manager.snapshot().pool.used == 0, timeout)
