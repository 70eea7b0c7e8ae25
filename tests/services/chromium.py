"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 30.0  # seconds to start, and to answer a call, on a busy machine
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *(
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--disable-breakpad",
        "--remote-debugging-port=0",
    ),
)
WATCHED = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Chromium:
    """One browser with one page, as an async context manager.

    `console` has the page's console messages and errors, including CSP violations.
    """

    def __init__(self, program: str) -> None:
        self.console: list[str] = []
        self.requested: list[str] = []
        self._program = program
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="pgmoor-chromium-"))
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *FLAGS,
            f"--user-data-dir={self._home}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._http = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(PATIENCE):
                self._socket = await self._http.ws_connect(await self._address(), max_msg_size=0)
        except BaseException:
            await self._end()
            raise
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._socket.close()
        await self._end()

    async def _end(self) -> None:
        await self._http.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # with its helper processes
        await self._process.wait()
        async with asyncio.timeout(PATIENCE):
            while self._home.exists():  # helper processes may still write
                shutil.rmtree(self._home, ignore_errors=True)
                await asyncio.sleep(0.01)

    async def _address(self) -> str:
        """Return the address of the page's DevTools; Chromium writes the port to a file."""
        file = self._home / "DevToolsActivePort"
        while not (lines := file.read_text().splitlines() if file.exists() else []):
            assert self._process.returncode is None
            await asyncio.sleep(0.02)
        while True:
            async with self._http.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
                for target in json.loads(await answer.text()):
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])

    async def _read(self) -> None:
        async for message in self._socket:
            received = json.loads(message.data)
            method = received.get("method")
            if "id" in received:
                self._answers.pop(received["id"]).set_result(received)
            elif method in WATCHED:
                self.console.append(json.dumps(received["params"]))
            elif method == "Network.requestWillBeSent":
                self.requested.append(received["params"]["request"]["url"])

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE):
            reply = await answer
        assert "error" not in reply, reply
        return reply["result"]

    async def visit(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        reply = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    async def until(self, expression: str, timeout: float = 20) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(timeout):
            while not await self.evaluate(expression):  # noqa: ASYNC110  the page sends no change events
                await asyncio.sleep(0.02)

    async def emulate(self, *, width: int, height: int, dark: bool = False) -> None:
        """Set the window's size and the preferred colour scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self) -> bytes:
        """Return a screenshot of the whole page as a PNG."""
        reply = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(reply["data"])
