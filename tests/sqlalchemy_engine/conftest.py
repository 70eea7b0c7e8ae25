"""An engine on a manager, and the table that the tests write to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orm_shop import Base, Lent
from pgmoor.sqlalchemy import create_async_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


@pytest.fixture
async def lent(alone: Cluster, moor: Callable[..., Any]) -> Lent:
    manager = await moor(alone[0], min_size=1, max_size=2, timeout=5)
    engine = create_async_engine(manager)
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.drop_all)
        await conn.run_sync(Base.metadata.create_all)
    return Lent(manager, engine)
