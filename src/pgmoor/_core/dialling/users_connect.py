"""Calls `connect()` of the program's `connection_class`, as psycopg_pool does."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import errors

from pgmoor._core.connection.abortable import AbortableConnection, completion
from pgmoor._core.connection.managed import INTRANS, ManagedConnection
from pgmoor._core.connection.users_class import UnusableConnect, made_ours

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.hosts.failures import Failure
    from pgmoor._core.hosts.host import Host

C = TypeVar("C", bound=AbortableConnection)


class ConnectFailed(Exception):  # noqa: N818  the fault is not the program's
    """No attempt was made, or it failed, for a reason that is known."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


async def call_connect(
    cls: type[C],
    conninfo: str,
    arguments: dict[str, Any],
    complete: Callable[[dict[str, Any]], None] | None = None,
) -> C:
    """Return the connection that `cls.connect()` makes, in no transaction.

    *complete* gets libpq's parameters as that method has left them. Raises psycopg's errors, and
    `UnusableConnect` for any other.
    """
    ours = ManagedConnection if issubclass(cls, ManagedConnection) else AbortableConnection
    token = completion.set(complete)
    try:
        conn = made_ours(cls, ours, await _connect(cls, conninfo, arguments))
        if conn.pgconn.transaction_status == INTRANS:
            await conn.commit()  # psycopg_pool has the first borrower do it
    except BaseException as error:
        # The error holds the frames of the failed dial, and these hold its socket: it would stay
        # open until the next garbage collection.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        completion.reset(token)
    return conn


async def _connect(cls: type[AbortableConnection], conninfo: str, arguments: dict[str, Any]) -> Any:
    try:
        return await cls.connect(conninfo, **arguments)
    except (errors.Error, ConnectFailed):
        raise
    except Exception as error:
        said = f": {error}" if str(error) else ""
        raise UnusableConnect(
            f"connect() of connection_class raised {type(error).__name__}{said}"
        ) from error


def address_for(
    host: Host, address: str | None, unresolved: ConnectFailed | None
) -> Callable[[dict[str, Any]], None]:
    """Return what gives a connection the address of its host's name.

    A class that has put another host in place of ours, or an address, is left its way; otherwise
    *unresolved* is raised if there is no address.
    """

    def complete(params: dict[str, Any]) -> None:
        if params.get("host") != host.host or params.get("hostaddr"):
            return
        if unresolved is not None:
            raise unresolved
        if address is not None:
            params["hostaddr"] = address

    return complete
