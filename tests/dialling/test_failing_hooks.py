"""What `configure`, `check` and `reset` raise: callers and the log hear what it was, and where."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import PoolTimeout

from pgmoor.events import DialFailed
from support import recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def raises(_: Any) -> None:
    raise KeyError("no_such_setting")


async def refused_by_the_server(conn: Any) -> None:
    await conn.execute("set no_such_setting = 1")


async def too_slow(_: Any) -> None:
    await asyncio.Event().wait()


async def leaves_a_transaction(conn: Any) -> None:
    await conn.execute("select 1")


def plain(_: Any) -> None: ...


FILE = r"\(at test_failing_hooks\.py:\d+\)"
PLAIN = "is not a coroutine function: define it with 'async def'"


@pytest.mark.parametrize(
    ("configure", "reason"),
    [
        (raises, rf"`configure` raised KeyError {FILE}: 'no_such_setting'"),
        (refused_by_the_server, rf"`configure` raised UndefinedObject {FILE}: unrecognized conf"),
        (too_slow, "`configure` took longer than 0.2 s"),
        (leaves_a_transaction, "`configure` left the connection in status INTRANS; let it commit"),
        (plain, f"`configure` {PLAIN}"),
    ],
)
async def test_a_caller_and_the_log_hear_how_configure_failed(
    alone: Cluster,
    moor: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    configure: Any,
    reason: str,
) -> None:
    manager = await moor(
        *alone, min_size=1, max_size=1, configure=configure, kwargs={"connect_timeout": "0.2"}
    )
    failed = await recorder(manager).wait_for(DialFailed)
    with pytest.raises(PoolTimeout, match=reason):
        await manager.getconn(timeout=0.05)
    assert failed.reason.startswith("`configure` ")
    assert str(failed) in caplog.text


async def test_a_plain_function_and_a_line_are_named_for_check_and_reset_too(
    alone: Cluster, moor: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgmoor.pool")
    for check, reason in ((plain, f"`check` {PLAIN}"), (raises, f"`check` raised KeyError {FILE}")):
        manager = await moor(*alone, min_size=1, max_size=1, check=check)
        await manager.wait()
        caller = asyncio.create_task(manager.getconn())
        failed = await recorder(manager).wait_for(DialFailed)
        caller.cancel()
        assert re.match(reason, failed.reason)
    for reset in (plain, raises):
        manager = await moor(*alone, min_size=1, max_size=1, reset=reset)
        async with manager.connection():
            pass
    dropped = [record for record in caplog.messages if "a returned connection" in record]
    assert [line.partition(": ")[2] for line in dropped[:1]] == [f"`reset` {PLAIN}"]
    assert "`reset` raised KeyError (at test_failing_hooks.py:" in dropped[1]
    assert "no_such_setting" not in caplog.text  # it may be a secret
