"""examples/fastapi_app.py and examples/aiohttp_app.py run as their docstrings say."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import pytest

from serving import program

EXAMPLES = Path(__file__).parents[2] / "examples"


def children(pid: int) -> list[int]:
    found = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for text in found for child in text.split()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("example", ["fastapi_app", "aiohttp_app"])
async def test_the_example_serves_requests_and_stops_its_servers(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    async with program(example, cwd=EXAMPLES, PORT="0") as server:
        async with httpx.AsyncClient(base_url=await server.url()) as client:
            placed = await client.put("/orders/7", json={"item": "pen"}, timeout=10)
            again = await client.put("/orders/7", json={"item": "pen"})
            shown = await client.get("/orders/7")
            other = await client.get("/orders/8")
            metrics = await client.get("/metrics/")
            states = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
        servers = children(server.process.pid)
        await server.terminate(10)

    assert placed.status_code == again.status_code == 200, server.output
    assert shown.json() == {"item": "pen"}
    assert other.status_code == 404
    assert states == [200, 200]
    if example == "fastapi_app":
        assert 'pgmoor_ready{manager="orders"} 1.0' in metrics.text
    assert server.process.returncode == 0
    assert len(servers) >= 2  # and the watcher process
    assert not alive(servers)
    assert "Traceback" not in server.output, server.output
