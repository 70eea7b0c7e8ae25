"""Orders placed with SQLAlchemy's ORM while the primary is killed and its standby promoted.

    python examples/sqlalchemy_orm.py

It starts a primary and a standby, and needs the `sqlalchemy` and `testing` extras.
"""

from __future__ import annotations

import asyncio
import uuid
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgmoor import ConnectionManager
from pgmoor.sqlalchemy import create_async_engine
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
READ_ONLY = "25006"  # the SQLSTATE of a write on a server that has just become a standby


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    customer: Mapped[str]


async def run(
    session_of: async_sessionmaker[AsyncSession],
    work: Callable[[AsyncSession], Awaitable[T]],
    *,
    seconds: float = 30,
) -> T:
    """Run a unit of work in a transaction; repeat it if the connection is lost.

    *work* must be safe to repeat: if the connection is lost during COMMIT, the server may have
    committed.
    """
    deadline = monotonic() + seconds
    while True:
        try:
            async with session_of.begin() as session:
                return await work(session)
        except DBAPIError as error:
            lost = error.connection_invalidated or getattr(error.orig, "sqlstate", "") == READ_ONLY
            if not lost or monotonic() > deadline:
                raise
            print(f"connection lost, trying again: {type(error.orig).__name__}")
        await asyncio.sleep(0.05)


async def place(session_of: async_sessionmaker[AsyncSession], customer: str) -> uuid.UUID:
    key = uuid.uuid4()  # made before the first try, so that a repeat changes nothing

    async def work(session: AsyncSession) -> None:
        order = insert(Order).values(key=key, customer=customer).on_conflict_do_nothing()
        await session.execute(order)

    await run(session_of, work)
    return key


async def main() -> None:
    async with (
        # Synchronous: otherwise a crash may lose transactions that the primary acknowledged.
        Cluster(standbys=1, synchronous=True) as cluster,
        ConnectionManager(cluster.conninfo(), min_size=2, max_size=4) as manager,
    ):
        engine = create_async_engine(manager)
        session_of = async_sessionmaker(engine)
        async with engine.begin() as conn:
            await conn.run_sync(Base.metadata.create_all)

        acknowledged: set[uuid.UUID] = set()

        async def customer(name: str) -> None:
            for _ in range(50):
                acknowledged.add(await place(session_of, name))
                await asyncio.sleep(0.005)

        async def disaster() -> None:
            await asyncio.sleep(0.2)
            before = len(acknowledged)
            await cluster[0].kill()
            print(f"the primary was killed after {before} orders")
            # A synchronous primary would wait for a standby, and there is none left.
            await cluster[1].promote()
            await cluster[1].sql("alter system set synchronous_standby_names = ''")
            await cluster[1].sql("select pg_reload_conf()")
            print("the standby was promoted")

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(customer(f"customer {number}"))
            tasks.create_task(disaster())

        async with session_of() as session:
            written = set(await session.scalars(select(Order.key)))
            customers = await session.scalar(select(func.count(Order.customer.distinct())))
        lost = len(acknowledged - written)
        print(f"{len(acknowledged)} orders of {customers} customers acknowledged, {lost} lost")


if __name__ == "__main__":
    asyncio.run(main())
