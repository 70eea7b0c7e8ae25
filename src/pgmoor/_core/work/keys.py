"""The table of idempotency keys: how it is made, and how old rows are removed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from psycopg import errors

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.settings.mistakes import shown
from pgmoor._core.util.asynctools import spawn
from pgmoor._core.util.backoff import spread
from pgmoor.errors import ManagerClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.pool.checkout import Checkout
    from pgmoor._core.state.live import LiveState

logger = logging.getLogger("pgmoor.work")

INSTALL_SQL = """\
create schema if not exists pgmoor;

create table if not exists pgmoor.transactions (
  key text primary key,             -- chosen by the program, once for each transaction
  attempt uuid not null,            -- tells which attempt of a call has committed
  at timestamptz not null default now()
);

create index if not exists transactions_at on pgmoor.transactions (at);

comment on table pgmoor.transactions is 'Transactions that pgmoor has carried out, by their keys';
"""
INSTALLED = "select to_regclass('pgmoor.transactions') is not null"
# Several processes may install at the same time, and "if not exists" alone can fail then.
LOCK = "select pg_advisory_xact_lock(hashtext('pgmoor.install'))"

BATCH = 500
REMOVE = """
delete from pgmoor.transactions where key in (
  select key from pgmoor.transactions where at < now() - %s * interval '1 second'
  order by at limit %s for update skip locked)
"""
LONGEST_INTERVAL = 600.0  # seconds between two rounds
BETWEEN_BATCHES = 0.1  # seconds
PATIENCE = 5.0  # seconds to wait for a connection
LONGEST_KEY = 255


def check_key(key: object) -> str:
    """Return a key of the caller's; raise `ValueError` if it can't be one."""
    if not isinstance(key, str) or not key:
        what = "it is empty" if isinstance(key, str) else f"it is {shown(key)}"
        raise ValueError(f"key: {what}; give a str, or True to have one made")
    if len(key) > LONGEST_KEY:
        raise ValueError(f"key: it has {len(key)} characters; give at most {LONGEST_KEY}")
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ValueError("key: it has a NUL or half a surrogate pair; leave that out")
    return key


async def install(conn: ManagedConnection) -> None:
    """Make the table, if it isn't there; leave the transaction open."""
    row = await (await conn.execute(INSTALLED)).fetchone()
    if row is None or not _first(row):
        await conn.execute(LOCK)
        await conn.execute(INSTALL_SQL)


def _first(row: object) -> object:
    """Return the first column, whatever kind of row the program's `row_factory` makes."""
    values = row.values() if isinstance(row, dict) else row
    return next(iter(values))  # type: ignore[call-overload]


class KeyKeeper:
    """Removes keys older than `keep_keys`, in small batches, in the background.

    Not while the manager is quiet.
    """

    def __init__(
        self, live: LiveState, checkout: Callable[[float], Checkout[ManagedConnection]]
    ) -> None:
        self._name = live.settings.name
        self._keep = live.settings.keep_keys
        self._phase = live.phase
        self._checkout = checkout
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._task is None:
            self._task = spawn(self._run(), f"{self._name}-keys")

    def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(spread(min(self._keep / 4, LONGEST_INTERVAL)))
            try:
                removed = BATCH
                while removed == BATCH and not self._phase.quiet:
                    removed = await self._remove()
                    await asyncio.sleep(BETWEEN_BATCHES)
            except ManagerClosed:
                return
            except errors.Error as error:  # the next round is soon enough
                reason = type(error).__name__
                extra = fields("KeysNotRemoved", self._name, reason=reason)
                logger.info("old idempotency keys were not removed: %s", reason, extra=extra)

    async def _remove(self) -> int:
        used_at = self._phase.used_at
        try:
            async with self._checkout(PATIENCE) as conn, conn.transaction():
                cursor = await conn.execute(REMOVE, [self._keep, BATCH])
                return cursor.rowcount
        finally:
            # This is no use of the manager, and must not keep it from falling quiet. What others
            # gave back meanwhile counts as given back before: then it falls quiet a little early.
            self._phase.used_at = used_at
