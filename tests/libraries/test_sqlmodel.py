"""SQLModel on an engine of `pgmoor.sqlalchemy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from pgmoor.sqlalchemy import create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster


class Turn(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    what: str


async def test_its_sessions_go_on_without_a_restart(
    pair: Cluster,
    moor: Callable[..., Any],
    primary_lost: AsyncIterator[str],
    again: Callable[..., Any],
) -> None:
    manager = await moor(*pair, min_size=1)
    engine = create_async_engine(manager)
    async with engine.begin() as conn:
        await conn.run_sync(SQLModel.metadata.create_all)
    turns: list[str] = []

    async def add(what: str) -> None:
        async with AsyncSession(engine) as session:
            session.add(Turn(what=what))
            await session.commit()

    await add("at the beginning")
    async for loss in primary_lost:
        turns.append(loss)
        await again(lambda loss=loss: add(loss), DBAPIError)
    async with AsyncSession(engine) as session:
        found = await session.exec(select(Turn).order_by(col(Turn.id)))
        assert [turn.what for turn in found] == ["at the beginning", *turns]
