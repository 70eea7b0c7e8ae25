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

PATIENCE = 30.0  # seconds for it to start, and for an answer: machines are busy
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

    `said` has what the page's console had to say: violations of the CSP and errors among it.
    """

    def __init__(self, program: str) -> None:
        self.said: list[str] = []
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
            os.killpg(self._process.pid, signal.SIGKILL)  # and its helpers
        await self._process.wait()
        async with asyncio.timeout(PATIENCE):
            while self._home.exists():  # they may write for a moment longer
                shutil.rmtree(self._home, ignore_errors=True)
                await asyncio.sleep(0.01)

    async def _address(self) -> str:
        """Return where the page's DevTools listen; the port is in a file, once there is one."""
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
            told = json.loads(message.data)
            method = told.get("method")
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif method in WATCHED:
                self.said.append(json.dumps(told["params"]))
            elif method == "Network.requestWillBeSent":
                self.requested.append(told["params"]["request"]["url"])

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE):
            told = await answer
        assert "error" not in told, told
        return told["result"]

    async def visit(self, url: str) -> None:
        """Open a page, and wait until it is there."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def ask(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, expression: str, timeout: float = 20) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(timeout):
            while not await self.ask(expression):  # noqa: ASYNC110  the page tells of no change
                await asyncio.sleep(0.02)

    async def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """Set the window's size and the colours that its user prefers."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """Return the page as it looks, as a PNG."""
        told = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(told["data"])
