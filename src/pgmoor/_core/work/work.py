"""`Work`: what `run()`, `transaction()`, `retrying()` and `install()` of a manager do."""

from __future__ import annotations

import inspect
import uuid
import warnings
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast

from psycopg_pool.abc import ACT

from pgmoor._core.settings.validation import check_timeout
from pgmoor.errors import AlreadyDone, ConfigError

from .arguments import check_arguments, check_function
from .keys import KeyKeeper, check_key, install
from .resolver import Resolver
from .retry import NEVER, Budget, Retry
from .transaction import ClaimedBefore
from .unit import Circumstances, Unit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.pool.checkout import Checkout
    from pgmoor._core.state.live import LiveState

    from .statements import Modes

T = TypeVar("T")

DEFAULT = Retry()
LEFT = (
    "a loop over retrying() ended after a failed attempt: nothing was committed. Code after an"
    " attempt's block runs after each attempt: move it into the block, or after the loop"
)


class Work:
    """Carries out the transactions of one open manager."""

    def __init__(
        self, live: LiveState, checkout: Callable[[float | None], Checkout[ManagedConnection]]
    ) -> None:
        settings = live.settings
        sizes = settings.sizes
        self.budget: Budget = Budget(sizes.max_size + sizes.max_overflow, live.instruments)
        self._timeout = settings.timeout
        self._checkout = checkout
        self._keeper = KeyKeeper(live, checkout)
        self._shared = Circumstances(
            checkout,
            Resolver(settings.name, checkout, settings.health_timeout, live.instruments),
            self.budget,
            settings.timeout,
            lambda: live.evidence.wants_writes,
        )

    def stop(self) -> None:
        """End what runs in the background."""
        self._keeper.stop()

    async def install(self) -> None:
        """Make the table of idempotency keys, if it isn't there."""
        async with self._checkout(None) as conn, conn.transaction():
            await install(conn)

    async def run(
        self,
        fn: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        *,
        modes: Modes,
        timeout: float | None,
        retry: Retry | None,
        key: str | Literal[True] | None,
    ) -> T:
        """Carry out `fn(conn, *args)` once; see `ConnectionManager.run()`."""
        check_function(fn)
        if timeout is not None or retry is not None:
            check_arguments(timeout, retry)
        name = str(uuid.uuid4()) if key is True else None if key is None else check_key(key)
        if name is not None:
            if modes.readonly:
                raise ConfigError("key", "a read-only transaction can't claim one", "leave it out")
            self._keeper.start()
        unit = self.unit(modes, timeout, retry, name)
        results: dict[str, T] = {}  # by attempt: of those that may have committed
        while True:
            try:
                conn = await unit.enter()
            except ClaimedBefore as claimed:
                if claimed.attempt in results:
                    return results[claimed.attempt]
                raise AlreadyDone(name or "") from None
            attempt = unit.transaction.attempt
            failure: BaseException | None = None
            try:
                results[attempt] = await awaited(fn, conn, args)
            except BaseException as error:  # noqa: BLE001  the unit decides what follows
                failure = error
            if not await unit.leave(failure) and failure is not None:
                raise failure
            if unit.done:
                return cast("T", results.get(attempt))  # none after psycopg's Rollback

    def unit(
        self, modes: Modes, timeout: float | None, retry: Retry | None, key: str | None = None
    ) -> Unit:
        """Return a new unit of work, whose time begins now."""
        limit = self._timeout if timeout is None else timeout
        return Unit(self._shared, modes, DEFAULT if retry is None else retry, limit, key)

    def transaction(self, modes: Modes, timeout: float | None) -> Block[Any]:
        """Return a context manager for one transaction, which is tried once."""
        check_timeout(timeout)
        return Block(lambda: Unit(self._shared, modes, NEVER, timeout))

    def retrying(self, modes: Modes, timeout: float | None, retry: Retry | None) -> Retrying[Any]:
        """Return an iterator over the attempts of one transaction."""
        check_arguments(timeout, retry)
        return Retrying(lambda: self.unit(modes, timeout, retry))


class Block(Generic[ACT]):
    """Lends a connection for one transaction: the block of `transaction()`."""

    def __init__(self, make: Callable[[], Unit]) -> None:
        self._make = make
        self._unit: Unit | None = None

    async def __aenter__(self) -> ACT:
        if self._unit is not None:
            raise RuntimeError("transaction() is for one block; call it again for each block")
        self._unit = self._make()
        return await self._unit.enter()  # type: ignore[return-value]  # as in `Checkout`

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._unit is not None
        return await self._unit.leave(exc) and exc is not None


class Attempt(Generic[ACT]):
    """One attempt of `retrying()`: `async with` lends the connection for its transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    @property
    def number(self) -> int:
        """The number of the attempt, from 1."""
        return self._unit.attempts

    async def __aenter__(self) -> ACT:
        return await self._unit.enter()  # type: ignore[return-value]  # as in `Checkout`

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        # Without an error a `return` may be on its way, which nothing could call back.
        self._unit.repeatable = exc is not None
        survived = await self._unit.leave(exc)
        self._unit.owed = survived and not self._unit.done
        return survived and exc is not None


class Retrying(Generic[ACT]):
    """The attempts of one transaction, until one has committed."""

    def __init__(self, make: Callable[[], Unit]) -> None:
        self._make = make
        self._unit: Unit | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt[ACT]:
        if self._unit is None:
            self._unit = self._make()
        self._unit.owed = False
        if self._unit.done:
            raise StopAsyncIteration
        return Attempt(self._unit)

    def __del__(self) -> None:
        if self._unit is not None and self._unit.owed:
            warnings.warn(LEFT, RuntimeWarning, stacklevel=2)


async def awaited(fn: Callable[..., Any], conn: ManagedConnection, args: tuple[Any, ...]) -> Any:
    """Return what `fn(conn, *args)` returns; raise `TypeError` if it is not to be awaited."""
    awaitable = fn(conn, *args)
    if type(awaitable) is not CoroutineType and not inspect.isawaitable(awaitable):
        name = getattr(fn, "__qualname__", type(fn).__name__)
        raise TypeError(f"run() needs a coroutine function, and {name} isn't one")
    return await awaitable
