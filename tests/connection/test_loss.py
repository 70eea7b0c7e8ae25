"""`retry_safety()`: what a lost connection or a refused statement means for the work."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
from psycopg import errors

from pgmoor import CommitOutcomeUnknown, ConnectionAborted, RetrySafety, retry_safety
from pgmoor._core.connection.loss import commits, note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor.testing import Cluster

NOTHING_SENT, ROLLED_BACK, UNKNOWN = RetrySafety

INSERT = "insert into work (id) values ('x')"
# A statement during which the server ends the session.
SUICIDE = "select pg_terminate_backend(pg_backend_pid())"


@pytest.mark.parametrize(
    ("error", "safety"),
    [
        (errors.SerializationFailure(), ROLLED_BACK),
        (errors.DeadlockDetected(), ROLLED_BACK),
        (errors.ReadOnlySqlTransaction(), ROLLED_BACK),
        (errors.UniqueViolation(), ROLLED_BACK),
        (errors.LockNotAvailable(), ROLLED_BACK),
        (errors.IdleInTransactionSessionTimeout(), ROLLED_BACK),
        (errors.StatementCompletionUnknown(), UNKNOWN),
        (errors.TransactionResolutionUnknown(), UNKNOWN),
        (errors.AdminShutdown(), UNKNOWN),
        (errors.ConnectionFailure(), UNKNOWN),
        (errors.OperationalError("server closed the connection"), UNKNOWN),
        (errors.ConnectionTimeout(), NOTHING_SENT),
        (errors.TooManyConnections(), NOTHING_SENT),
        (errors.CannotConnectNow(), NOTHING_SENT),
        (errors.InvalidPassword(), NOTHING_SENT),
        (psycopg_pool.PoolTimeout(), NOTHING_SENT),
        (psycopg_pool.PoolClosed(), NOTHING_SENT),
        (CommitOutcomeUnknown(), UNKNOWN),
        (ConnectionAborted("db1:5432", "it is silent"), UNKNOWN),
        (TimeoutError(), UNKNOWN),
        (ValueError(), UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_says_what_is_known_of_the_work(error: Exception, safety: RetrySafety) -> None:
    assert retry_safety(error) is safety


def test_what_was_noted_on_an_error_survives_pickling() -> None:
    error = note(ConnectionAborted("db1:5432", "it is silent"), ROLLED_BACK)
    assert retry_safety(pickle.loads(pickle.dumps(error))) is ROLLED_BACK


async def test_a_connection_that_was_never_made_sent_nothing() -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        await psycopg.AsyncConnection.connect("host=127.0.0.1 port=1 user=x")
    assert retry_safety(caught.value) is NOTHING_SENT


@pytest.mark.parametrize(
    ("statement", "does"),
    [
        (b"commit", True),
        (b"  End;", True),
        (b"-- now\n/* at\nlast */ COMMIT", True),
        (b"insert into t values (1); commit", True),
        (b"PREPARE  TRANSACTION 'x'", True),
        (b"commit prepared 'x'", True),
        (b"select 'commit'", False),
        (b"comment on table t is 'x'", False),
        (b"insert into ends values (1)", False),
    ],
)
def test_a_statement_that_commits_is_recognised(statement: bytes, does: bool) -> None:
    assert commits(statement) is does


async def statement(conn: Any) -> None:
    await conn.execute(INSERT)
    await conn.execute(SUICIDE)


async def explicit_block(conn: Any) -> None:
    async with conn.transaction():
        await statement(conn)


async def savepoint(conn: Any) -> None:
    async with conn.transaction(), conn.transaction():
        await statement(conn)


async def after_the_loss(conn: Any) -> None:
    with pytest.raises(psycopg.OperationalError):
        await statement(conn)
    await conn.execute("select 1")


async def by_autocommit(conn: Any) -> None:
    await conn.set_autocommit(True)
    await conn.execute(SUICIDE)


async def block_with_autocommit(conn: Any) -> None:
    await conn.set_autocommit(True)
    await explicit_block(conn)


async def in_a_pipeline(conn: Any) -> None:
    async with conn.pipeline():
        await statement(conn)


async def several_with_commit(conn: Any) -> None:
    await conn.execute(f"{INSERT}; {SUICIDE}; commit")


@pytest.mark.parametrize(
    ("way", "safety"),
    [
        (statement, ROLLED_BACK),
        (explicit_block, ROLLED_BACK),
        (savepoint, ROLLED_BACK),
        (after_the_loss, ROLLED_BACK),
        (block_with_autocommit, ROLLED_BACK),
        (by_autocommit, UNKNOWN),
        (in_a_pipeline, UNKNOWN),
        (several_with_commit, UNKNOWN),
    ],
)
async def test_a_lost_connection_says_whether_its_work_was_rolled_back(
    way: Callable[[Any], Awaitable[None]],
    safety: RetrySafety,
    alone: Cluster,
    moor: Callable[..., Any],
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(psycopg.OperationalError) as caught:
        async with manager.connection() as conn:
            await way(conn)
    assert retry_safety(caught.value) is safety


@pytest.mark.parametrize("text", ["commit", "/* done */ end"])
@pytest.mark.parametrize("delivered", [False, True])
async def test_a_commit_that_was_sent_as_a_statement_is_unknown(
    text: str,
    delivered: bool,
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    with pytest.raises(psycopg.OperationalError) as caught:
        async with manager.connection() as conn:
            await conn.execute(INSERT)
            if text.startswith("/*"):
                door.cut(after=3)
            else:
                door.lose_commits(delivered=delivered)
            try:
                await conn.execute(text)
            finally:
                with pytest.raises(psycopg.OperationalError) as later:
                    await conn.execute("select 1")
    assert retry_safety(caught.value) is UNKNOWN
    assert retry_safety(later.value) is UNKNOWN


async def test_a_connection_that_was_cut_in_a_transaction_says_that_it_is_rolled_back(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(ConnectionAborted) as caught:
        async with manager.connection() as conn:
            await conn.execute(INSERT)
            conn.abort("the host was left")
            await conn.execute(INSERT)
    assert retry_safety(caught.value) is ROLLED_BACK
