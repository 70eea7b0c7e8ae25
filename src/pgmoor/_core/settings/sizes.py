"""How many connections a pool keeps, and how many more it may make. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pgmoor.errors import ConfigError

from .mistakes import shown

LIMIT = 262_143  # of max_connections in PostgreSQL


class Unless(int):
    """A `min_size` that was not given: less if a lower `max_size` was."""


MIN_SIZE = Unless(4)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The limits of a pool, in connections.

    `min_size` are always kept, and up to `max_size` while they are used. `max_overflow` more are
    made when all of these are busy, and closed as soon as nobody waits for one (as in SQLAlchemy's
    QueuePool). With `closes_idle` (`max_idle=0`) the same goes for all beyond `min_size`; with a
    `min_size` of 0, that is psycopg_pool's NullConnectionPool.
    """

    min_size: int
    max_size: int
    max_overflow: int = 0
    closes_idle: bool = False

    @classmethod
    def of(
        cls, min_size: object, max_size: object, max_overflow: object, max_idle: object
    ) -> Sizes:
        """Return the limits; raise `ConfigError` when a pool can't have them.

        Without *max_size* a pool is as large as *min_size*; a *min_size* that was not given is no
        larger than *max_size*.
        """
        if isinstance(min_size, Unless):
            given = max_size if isinstance(max_size, int) and max_size >= 0 else min_size
            min_size = int(min(min_size, given))
        most = min_size if max_size is None else max_size
        for name, value in (
            ("min_size", min_size),
            ("max_size", most),
            ("max_overflow", max_overflow),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ConfigError(
                    name, f"{shown(value)} is not a usable count", "give a whole number, 0 or more"
                )
            if value > LIMIT:
                raise ConfigError(
                    name, "no server accepts so many connections", f"give {LIMIT} or less"
                )
        assert isinstance(min_size, int)
        assert isinstance(most, int)
        assert isinstance(max_overflow, int)
        if most < min_size:
            raise ConfigError(
                "max_size",
                f"{shown(most)} is less than min_size, which is {shown(min_size)}",
                "give as many or more, or a lower min_size",
            )
        if most + max_overflow == 0:
            raise ConfigError("max_size", "no connection could ever be made", "give 1 or more")
        return cls(min_size, most, max_overflow, closes_idle=max_idle == 0)

    @property
    def most(self) -> int:
        """How many connections there may be."""
        return self.max_size + self.max_overflow

    @property
    def kept(self) -> int:
        """How many connections may be idle."""
        return self.min_size if self.closes_idle else self.max_size
