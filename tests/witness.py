"""Records all that a program shows of itself: its log, errors, objects and tasks."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import pickle
import pprint
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from pgmoor._core.util.secrets import Hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = str(Path(__file__).parent)


class Witness(logging.Handler):
    """Keeps what all loggers log, at every level, and what it is given besides."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [record.getMessage(), pprint.pformat(vars(record))]
        if record.exc_info and record.exc_info[1] is not None:
            self.record_error(record.exc_info[1])

    def record_error(self, error: BaseException) -> None:
        """Record an error, its traceback with all variables, and its causes."""
        self.texts += rendered(error)

    def record_objects(self, *things: object) -> None:
        """Record what objects show of themselves."""
        for thing in things:
            self.texts += shown(thing)

    def record_context(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Record what the event loop reports; to be set as its exception handler."""
        self.texts.append(pprint.pformat(context))
        if (error := context.get("exception")) is not None:
            self.record_error(error)

    def record_tasks(self) -> None:
        """Record the names, coroutines and stacks of all tasks."""
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                stack = io.StringIO()
                task.print_stack(file=stack)
                self.texts += [repr(task), repr(task.get_coro()), stack.getvalue()]


# -- objects ------------------------------------------------------------------------------------


def shown(thing: object) -> list[str]:
    """Return what an object shows: its texts, its attributes and its pickle."""
    return [repr(thing), str(thing), f"{thing}", pprint.pformat(_attributes(thing)), _pickle(thing)]


def _pickle(thing: object) -> str:
    try:
        return pickle.dumps(thing).decode("latin-1")
    except Exception as error:  # noqa: BLE001  most can't be pickled
        return f"{error!r}"


def _attributes(thing: object) -> dict[str, Any]:
    found = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                found[name] = getattr(thing, name)
    return found


LEAVES = (ModuleType, type, FunctionType, BuiltinFunctionType, int, float, bool)


def attribute_texts(root: object) -> Iterator[tuple[str, str]]:
    """Return the texts that attributes and containers lead to at any depth, with their paths."""
    seen: set[int] = set()
    todo: list[tuple[str, object]] = [("", root)]
    keep = []  # ids are of objects that live
    while todo:
        way, thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (*LEAVES, asyncio.AbstractEventLoop)):
            continue
        seen.add(id(thing))
        keep.append(thing)
        if isinstance(thing, str | bytes):
            yield way, thing if isinstance(thing, str) else thing.decode(errors="replace")
        elif isinstance(thing, Mapping):
            todo += [(f"{way}[{key!r:.20}]", value) for key, value in list(thing.items())]
            todo += [(f"{way}(key)", key) for key in list(thing)]
        elif isinstance(thing, Collection):
            todo += [(f"{way}[]", item) for item in list(thing)]
        elif isinstance(thing, MethodType):
            todo.append((f"{way}.__self__", thing.__self__))
        if not isinstance(thing, str | bytes):
            todo += [(f"{way}.{name}", value) for name, value in _attributes(thing).items()]


def reachable_texts(root: object) -> Iterator[str]:
    """Return the texts that the garbage collector finds below an object, `Hidden` ones excepted."""
    seen: set[int] = set()
    todo = [root]
    keep = []
    while todo:
        thing = todo.pop()
        skipped = (ModuleType, type, FrameType, TracebackType, Hidden, asyncio.AbstractEventLoop)
        if id(thing) in seen or isinstance(thing, skipped):
            continue
        if isinstance(thing, dict) and "__builtins__" in thing:
            continue  # the global names of a module
        seen.add(id(thing))
        keep.append(thing)
        if isinstance(thing, str | bytes):
            yield thing if isinstance(thing, str) else thing.decode(errors="replace")
        else:
            todo += gc.get_referents(thing)


# -- errors -------------------------------------------------------------------------------------


def rendered(error: BaseException) -> list[str]:
    """Return all that an error shows, in the ways that people print errors."""
    texts = []
    for link in _chain(error):
        link.__traceback__ = _of_others(link.__traceback__)
        texts += shown(link)
        texts += [repr(link.args), pprint.pformat(vars(link))]
        for frame, _ in traceback.walk_tb(link.__traceback__):
            texts += [pprint.pformat(frame.f_locals), pretty_repr(frame.f_locals)]
        detailed = traceback.TracebackException.from_exception(link, capture_locals=True)
        texts += detailed.format()
    return texts


def rendered_by_rich(error: BaseException) -> str:
    """Return an error as rich shows it, with all variables. Slow: it highlights the code."""
    error.__traceback__ = _of_others(error.__traceback__)
    console = Console(file=io.StringIO(), width=10_000, record=True)
    console.print(
        Traceback.from_exception(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=1000,
            locals_max_string=1000,
            locals_hide_dunder=False,
        )
    )
    return console.export_text()


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and all its causes, suppressed ones included."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is not None and link not in found:
            found.append(link)
            todo += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
    return found


def _of_others(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of the tests, which know the password."""
    if trace is None:
        return None
    rest = _of_others(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(HERE):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
