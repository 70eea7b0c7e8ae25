"""A server that asks for passwords, and an environment that names none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from canary import CANARY
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded() -> AsyncIterator[Cluster]:
    """A server that asks for passwords: `keeper` has the canary, `stranger` another one."""
    async with Cluster(standbys=0, auth="scram-sha-256") as cluster:
        literal = CANARY.replace("'", "''")
        await cluster[0].sql(f"create role keeper login password '{literal}'")
        await cluster[0].sql("create role stranger login password 'another'")
        yield cluster


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away all that the machine's own environment would add."""
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
