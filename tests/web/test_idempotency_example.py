"""examples/idempotency.py: a request that is sent twice through a failover happens once."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager
from serving import uvicorn_server
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "idempotency.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("idempotency", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "idempotency", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_request_that_is_sent_twice_through_a_failover_happens_once(
    delivered: bool, example: Any, pair: Cluster, proxies: Callable[..., Any]
) -> None:
    await pair[0].sql("drop table if exists payments")
    doors = proxies(pair)
    manager = ConnectionManager(
        "user=postgres dbname=postgres",
        hosts=[f"{door.host}:{door.port}" for door in doors],
        min_size=1,
        max_size=1,
    )
    async with uvicorn_server(example.make_app(manager)) as client:

        async def send(key: str, amount: int) -> Any:
            headers = {"Idempotency-Key": key}
            body = {"amount": amount}
            return await client.post("/payments", headers=headers, json=body, timeout=30)

        await pair[1].wait_for("select to_regclass('payments') is not null")
        doors[0].lose_commits(delivered=delivered)
        doors[0].refuse()
        first = asyncio.create_task(send("4f1c", 5))
        await until(lambda: doors[0].commits_lost == 1)
        if delivered:  # as a synchronous standby would have it
            await pair[1].wait_for("select exists (select from payments)")
        await pair[0].kill()
        await pair[1].promote()
        answers = [await first, await send("4f1c", 5), await send("77aa", 8)]
        missing = await client.post("/payments", json={"amount": 5})

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["amount"] == 5
    assert answers[2].json()["amount"] == 8
    assert missing.status_code == 422
    assert await pair[1].sql("select amount from payments order by amount") == [(5,), (8,)]
