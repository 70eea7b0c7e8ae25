"""The program's `connection_class`, and what pgmoor needs of each of its connections."""

from __future__ import annotations

import functools
from typing import Any, TypeVar, cast

from psycopg import AsyncConnection

from .abortable import AbortableConnection

C = TypeVar("C", bound=AbortableConnection)

_HOOKS = ("connect", "_get_connection_params")  # psycopg documents both as ours to override


class UnusableConnect(Exception):  # noqa: N818  the fault may be another's
    """`connect()` of the connection class raised, or returned what can't be used."""


def mixed(ours: type[C], connection_class: type[AsyncConnection[Any]]) -> type[C]:
    """Return a subclass of both; the methods of *ours* win."""
    if issubclass(connection_class, ours):
        return connection_class
    if issubclass(ours, connection_class):
        return ours
    prefix = ours.__name__.removesuffix("Connection")
    return type(f"{prefix}{connection_class.__name__}", (ours, connection_class), {})


_mixed = functools.cache(mixed)  # for what is made of each connection


def has_own_connect(connection_class: type[AsyncConnection[Any]]) -> bool:
    """Return whether a class says itself how it connects."""
    for kind in connection_class.__mro__:
        if kind is AsyncConnection:
            break
        if kind is not AbortableConnection and any(hook in vars(kind) for hook in _HOOKS):
            return True
    return False


def made_ours(cls: type[C], ours: type[AbortableConnection], conn: Any) -> C:
    """Return what `cls.connect()` has returned as one of *ours*, whatever made it.

    Something that stands in place of `AsyncConnection.connect`, such as a tracer's function, makes
    connections of psycopg's class and not of the one that it is called for. They lack what our
    `__init__()` sets. Raises `UnusableConnect`.
    """
    if isinstance(conn, ours):
        return cast("C", conn)
    kind = type(conn)
    if issubclass(kind, AsyncConnection):
        wanted: Any = cls if issubclass(cls, kind) else _mixed(ours, kind)  # type: ignore[arg-type]  # hashable
        state = dict(vars(conn))
        try:
            conn.__class__ = wanted
        except TypeError:  # it has slots of its own
            conn.pgconn.finish()
        else:
            wanted.__init__(conn, conn.pgconn)
            vars(conn).update(state)
            return cast("C", conn)
    raise UnusableConnect(
        f"connect() of connection_class returned an object of {kind.__qualname__};"
        " let it return what psycopg's connect() returns"
    )
