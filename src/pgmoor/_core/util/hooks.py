"""Calls the functions that a program gives for its connections, and says where they raised."""

from __future__ import annotations

import inspect
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class NotAwaitableError(TypeError):
    """A hook returned nothing that can be awaited."""


async def call_hook(name: str, hook: Callable[[Any], Awaitable[None]], conn: Any) -> None:
    """Await what *hook* returns for *conn*; raise `NotAwaitableError` if that is not possible."""
    awaitable = hook(conn)
    if not inspect.isawaitable(awaitable):
        raise NotAwaitableError(f"`{name}` is not a coroutine function: define it with 'async def'")
    await awaitable


def how_it_failed(name: str, error: Exception) -> str:
    """Return what a hook has raised, and on which line of it; its text is not quoted.

    Only the class of an *error* that came from elsewhere.
    """
    if isinstance(error, NotAwaitableError):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not call_hook.__code__:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    place = ""
    if (theirs := trace.tb_next) is not None:
        file = PurePath(theirs.tb_frame.f_code.co_filename).name
        place = f" (at {file}:{theirs.tb_lineno})"
    return f"`{name}` raised {type(error).__name__}{place}"
