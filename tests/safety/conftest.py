"""A server that demands passwords, and an environment without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from canary import CANARY
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded() -> AsyncIterator[Cluster]:
    """A server that demands passwords: that of `keeper` is the canary, `stranger` has another."""
    async with Cluster(standbys=0, auth="scram-sha-256") as cluster:
        literal = CANARY.replace("'", "''")
        await cluster[0].sql(f"create role keeper login password '{literal}'")
        await cluster[0].sql("create role stranger login password 'another'")
        yield cluster


@pytest.fixture(autouse=True)
def without_environment(bare_environment: None) -> None:
    """Hide the machine's own PG* variables and home directory."""
