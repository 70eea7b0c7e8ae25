"""A manager with an engine on it, and a mapped class with types that psycopg adapts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Integer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from pgmoor import ConnectionManager


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(unique=True)
    sizes: Mapped[list[int]] = mapped_column(ARRAY(Integer), default=list)
    notes: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)


@dataclass
class Lent:
    """A manager of at most two connections, and an engine on it."""

    manager: ConnectionManager
    engine: AsyncEngine

    @property
    def used(self) -> int:
        return self.manager.snapshot().pool.used
