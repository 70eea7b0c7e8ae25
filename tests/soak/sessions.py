"""Faults of the managers' sessions: they are ended or refused, or their role is changed.

What is done to the role reaches the standbys, too, and sessions that begin meanwhile keep it. So it
is undone in two steps: on the primary, and on the standbys once they follow it.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import FeatureNotSupported, QueryCanceled

from soak.schedule import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor.testing import Node
    from soak.journal import Journal
    from soak.orchestrator import Orchestrator
    from soak.tolerance import Tolerance
    from soak.watch import Watch

MANAGERS = "application_name like 'soak%'"
TERMINATE = f"select pg_terminate_backend(pid) from pg_stat_activity where {MANAGERS}"
# Local commits: there may be no standby to wait for.
LOCALLY = "set synchronous_commit = local; "
RESET = "alter role soak reset all"
UNCHANGED = (
    "select not exists (select from pg_db_role_setting join pg_roles on oid = setrole"
    " where rolname = 'soak')"
)
REJECT = "host all soak 127.0.0.1/32 reject\n"  # a line of pg_hba.conf
LOCK = "begin; set local lock_timeout = '2s'; lock table soak, soak_lists in share mode"


@dataclass(frozen=True)
class Change:
    """What is done to the role on the primary, and what undoes it."""

    harm: str  # with {few}, a small number, or {milliseconds}
    remedy: str
    errors: tuple[type[psycopg.Error], ...] = ()  # that callers may get meanwhile
    unconfirmed: bool = False  # commits may be acknowledged that no standby confirmed


CHANGES = {
    Kind.LOCKED_OUT: Change("alter role soak nologin", "alter role soak login"),
    Kind.ROLE_LIMIT: Change(
        "alter role soak connection limit {few}", "alter role soak connection limit -1"
    ),
    Kind.REVOKED: Change(
        "revoke execute on function pg_walfile_name(pg_lsn) from public",
        "grant execute on function pg_walfile_name(pg_lsn) to public",
    ),
    Kind.DEFAULTS: Change(
        """alter role soak set default_transaction_isolation = 'repeatable read';
        alter role soak set timezone = 'Asia/Tokyo'""",
        RESET,
    ),
    Kind.SERIALIZABLE: Change(
        """alter role soak set default_transaction_isolation = 'serializable';
        alter role soak set default_transaction_deferrable = on""",
        RESET,
        (FeatureNotSupported,),
    ),
    # A COMMIT that is cancelled while it waits for a standby is acknowledged, with a warning.
    Kind.STATEMENT_TIMEOUT: Change(
        "alter role soak set statement_timeout = {milliseconds}",
        RESET,
        (QueryCanceled,),
        unconfirmed=True,
    ),
    Kind.ROLE_READ_ONLY: Change("alter role soak set default_transaction_read_only = on", RESET),
}


async def nothing() -> None:
    """Undo a fault that ends by itself."""


class SessionFaults:
    """Brings faults of sessions about."""

    def __init__(
        self, orchestrator: Orchestrator, watch: Watch, tolerance: Tolerance, journal: Journal
    ) -> None:
        self._orchestrator = orchestrator
        self._watch = watch
        self._tolerance = tolerance
        self._journal = journal
        self._changes: set[Kind] = set()  # which may still stand on a server

    async def apply(self, node: Node, kind: Kind, amount: float) -> Callable[[], Awaitable[Any]]:
        """Bring a fault about; return what undoes it."""
        if kind is Kind.FULL:
            return await self._fill(node)
        if kind is Kind.LOCKED:
            return await self._lock()
        if kind is Kind.BLOCKED:
            time.sleep(0.1 + 2 * amount)  # noqa: ASYNC251  blocking is the fault
        elif kind is Kind.REJECTED:
            _write_rule(node, REJECT)
        elif kind in CHANGES:
            await self._change(kind, amount)
        else:
            await node.sql(TERMINATE + (" limit 1" if kind is Kind.TERMINATE_ONE else ""))
        return nothing  # changes are undone once the servers are back

    async def _change(self, kind: Kind, amount: float) -> None:
        change = CHANGES[kind]
        self._changes.add(kind)
        self._tolerance.begin(*change.errors, unconfirmed=change.unconfirmed)
        harm = change.harm.format(few=1 + int(amount * 6), milliseconds=5 + int(amount * 500))
        await self._orchestrator.primary.sql(LOCALLY + harm)

    async def undo_on_the_primary(self) -> None:
        """Undo what was changed; `undo_on_standbys` must follow."""
        primary = self._orchestrator.primary
        for remedy in sorted(self._remedies()):
            await primary.sql(LOCALLY + remedy)
        for node in self._orchestrator.cluster.nodes:
            _write_rule(node, "")
        if RESET in self._remedies():
            await primary.sql(TERMINATE)

    async def undo_on_standbys(self) -> None:
        """End the sessions that began while the role was changed; all servers are in step."""
        if RESET in self._remedies():
            for node in self._orchestrator.standbys():
                await node.wait_for(UNCHANGED)
                await node.sql(TERMINATE)
        self._changes.clear()
        self._tolerance.end()

    def _remedies(self) -> set[str]:
        return {CHANGES[kind].remedy for kind in self._changes}

    async def _lock(self) -> Callable[[], Awaitable[Any]]:
        stack = AsyncExitStack()
        stack.enter_context(self._watch.excused("the tables are locked"))
        try:
            conn = await psycopg.AsyncConnection.connect(
                self._orchestrator.primary.conninfo(), autocommit=True, connect_timeout=5
            )
            stack.push_async_callback(conn.close)
            await conn.execute(LOCK)
        except BaseException:
            await stack.aclose()
            raise
        return stack.aclose

    async def _fill(self, node: Node) -> Callable[[], Awaitable[Any]]:
        """Take every connection slot that is not reserved for superusers."""
        taken: list[psycopg.AsyncConnection[Any]] = []

        async def free() -> None:
            for conn in taken:
                await conn.close()

        try:
            while True:
                taken.append(
                    await psycopg.AsyncConnection.connect(
                        node.conninfo(user="hog"), connect_timeout=5
                    )
                )
        except psycopg.OperationalError as error:
            self._journal.note(f"{len(taken)} slots taken: {str(error).splitlines()[-1]}")
        except BaseException:
            await free()
            raise
        return free


def _write_rule(node: Node, rule: str) -> None:
    """Begin a server's pg_hba.conf with a line, or with none, whatever state it is in."""
    file = node.data_dir / "pg_hba.conf"
    with suppress(FileNotFoundError):  # it is just being copied
        before = file.read_text()
        after = rule + before.replace(REJECT, "")
        if after == before:
            return
        file.write_text(after)
    if node.pid is not None:
        os.kill(node.pid, signal.SIGHUP)
