"""LangGraph's checkpointer and store on `as_pool()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from langchain_core.runnables import RunnableConfig

    from pgmoor.testing import Cluster

KWARGS = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}


async def test_its_saver_and_store_go_on_without_a_restart(
    pair: Cluster,
    moor: Callable[..., Any],
    primary_lost: AsyncIterator[str],
    again: Callable[..., Any],
) -> None:
    manager = await moor(*pair, min_size=1, kwargs=KWARGS)
    saver = AsyncPostgresSaver(manager.as_pool())
    store = AsyncPostgresStore(manager.as_pool())
    await saver.setup()
    await store.setup()
    config: RunnableConfig = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    turns = ["at the beginning"]
    await save(saver, config, turns[-1])
    await store.aput(("users",), "turn 0", {"what": turns[-1]})

    async for loss in primary_lost:
        turns.append(loss)
        await again(lambda: save(saver, config, turns[-1]))
        key = f"turn {len(turns) - 1}"
        await again(lambda key=key: store.aput(("users",), key, {"what": turns[-1]}))
    found = await saver.aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"turn": turns[-1]}
    assert [item.checkpoint["channel_values"]["turn"] async for item in saver.alist(config)] == (
        turns[::-1]
    )
    items = await store.asearch(("users",))
    assert {item.key: item.value["what"] for item in items} == {
        f"turn {number}": turn for number, turn in enumerate(turns)
    }
    await manager.close()


async def save(saver: AsyncPostgresSaver, config: RunnableConfig, turn: str) -> None:
    checkpoint = {**empty_checkpoint(), "channel_values": {"turn": turn}}
    await saver.aput(config, checkpoint, {}, {"turn": "1"})  # type: ignore[arg-type]  # a TypedDict
