"""Checks values of settings; raises `ConfigError` with a remedy.

No text is quoted, and no value of a class of the user's is asked to show or compare itself.
"""

from __future__ import annotations

import inspect
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from psycopg import AsyncConnection

from pgmoor.errors import ConfigError

from .mistakes import checked_types, meant_among, shown
from .sizes import Sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

WhenDown = Literal["wait", "fail"]
Failback = Literal["auto", "manual"]

_POSITIVE = (
    "timeout",
    "max_lifetime",
    "reconnect_timeout",
    "hosts_interval",
    "health_interval",
    "health_timeout",
    "keepalive_interval",
    "stall_timeout",
    "cancel_timeout",
    "close_timeout",
    "keep_keys",
    "backoff_base",
    "backoff_cap",
)
_NOT_NEGATIVE = ("max_idle", "validate_after", "settle", "failback_after")
_POSITIVE_OR_NONE = ("max_time", "held_warning", "quiet_after")

_TAKES = {"reconnect_failed": "the manager", "on_event": "the event", "callback": "the event"}

# Seconds. Beyond these, sums and products of durations may overflow.
SHORTEST, LONGEST = 1e-6, 1e20
_FOR_EVER = float("inf")


def check_values(values: Mapping[str, Any]) -> None:
    """Check durations, counts and words."""
    for name in _POSITIVE + _NOT_NEGATIVE + _POSITIVE_OR_NONE:
        value = values[name]
        check_duration(
            name,
            value,
            may_be_zero=name in _NOT_NEGATIVE,
            may_be_none=name in _POSITIVE_OR_NONE,
        )
    Sizes.of(values["min_size"], values["max_size"], values["max_overflow"], values["max_idle"])
    for name, lowest in (("max_waiting", 0), ("num_workers", 1)):
        if not is_count(values[name], lowest):
            raise ConfigError(
                name,
                f"{shown(values[name])} is not a usable count",
                f"give a whole number, {lowest} or more",
            )
    tries = values["max_tries"]
    if tries is not None and not is_count(tries, 1):
        raise ConfigError(
            "max_tries",
            f"{shown(tries)} is not a usable count",
            "give 1 or more, or None for no limit",
        )
    for name, kind in (("when_down", WhenDown), ("failback", Failback)):
        if not isinstance(values[name], str) or values[name] not in get_args(kind):
            words = " or ".join(repr(word) for word in get_args(kind))
            raise unknown_word(name, values[name], words, get_args(kind))
    if not isinstance(values["close_returns"], bool):
        raise ConfigError(
            "close_returns",
            f"{shown(values['close_returns'])} is neither True nor False",
            "give one of them",
        )


def check_duration(
    name: str, value: object, *, may_be_zero: bool = False, may_be_none: bool = False
) -> None:
    """Raise `ConfigError` for what is no usable number of seconds."""
    if (may_be_none and value is None) or is_duration(value, may_be_zero=may_be_zero):
        return
    hint = "0 or more" if may_be_zero else "more than 0"
    if may_be_none:
        hint += ", or None for no limit"
    elif value is None or (type(value) is float and value == _FOR_EVER):
        hint += "; for no limit, a large number such as 1e9"
    if type(value) is timedelta:
        hint += ": its total_seconds()"
    elif isinstance(value, str):
        hint += ", as a number: float(...)"
    raise ConfigError(name, f"{shown(value)} is not a usable duration", f"give seconds, {hint}")


def check_timeout(value: object, *, may_be_none: bool = True) -> None:
    """Raise `ConfigError` for what can't be a call's timeout. A negative one has passed already."""
    if value is None and may_be_none:
        return
    if isinstance(value, float):
        usable = not math.isnan(value)
    else:
        usable = isinstance(value, int) and not isinstance(value, bool) and value <= LONGEST
    if not usable:
        none = ", or None" if may_be_none else ""
        what = f"{shown(value)} is not a usable duration"
        raise ConfigError("timeout", what, f"give seconds, as a number{none}")


def unknown_word(name: str, value: object, accepted: str, words: Iterable[str]) -> ConfigError:
    """Return the error for a word that a setting doesn't have."""
    what = "unknown value" if isinstance(value, str) else f"{shown(value)} is not an accepted value"
    return ConfigError(name, what, f"give {accepted}{meant_among(value, words)}")


def class_of(connection_class: object) -> type[AsyncConnection[Any]]:
    """Return the connection class; `AsyncConnection[DictRow]` is one, too."""
    found = get_origin(connection_class) or connection_class
    if not (isinstance(found, type) and issubclass(found, AsyncConnection)):
        what = "a class of another kind" if isinstance(found, type) else shown(found)
        raise ConfigError(
            "connection_class",
            f"{what} is not a connection class for asyncio",
            "derive it from AsyncConnection",
        )
    return found


def check_callback(callback: object) -> None:
    """Check a callable that is to get each event."""
    if callback is None:
        raise ConfigError("callback", "it is None", "give a function that takes the event")
    check_hooks({"callback": callback})


def check_hooks(hooks: Mapping[str, object]) -> None:
    """Check the callables that the program gives to be called."""
    for name, hook in hooks.items():
        if hook is None:
            continue
        if not callable(hook):
            raise ConfigError(name, f"{shown(hook)} is not callable", "give a function, or None")
        if problem := _wrong_shape(hook):
            what = _TAKES.get(name, "the connection")
            raise ConfigError(name, problem, f"give a function without yield that takes {what}")


def _wrong_shape(hook: Callable[..., Any]) -> str | None:
    """Return why *hook* can't be called with one argument and awaited, as far as can be told."""
    try:
        if inspect.isasyncgenfunction(hook) or inspect.isgeneratorfunction(hook):
            return "it is a generator function"
        signature = inspect.signature(hook)
    except Exception:  # noqa: BLE001  an object may answer anything
        return None
    try:
        signature.bind(None)
    except TypeError:
        return "it can't be called with one argument"
    return None


def check_name(name: object) -> None:
    """Check the manager's name, which is in each line of the log."""
    if not (name is None or (isinstance(name, str) and name.isprintable())):
        what = "it has a character that can't be shown" if isinstance(name, str) else shown(name)
        raise ConfigError("name", what, "give a str in one line, or None")


def name_or_number(name: Any, numbers: Iterator[int]) -> Any:
    """Return *name*, or one with the next number if there is none."""
    if isinstance(name, str):
        name = "".join(name) or None  # `str()` of a subclass may differ
    return f"pgmoor-{next(numbers)}" if name is None else name


def check_open(flag: object) -> None:
    """Check psycopg_pool's `open`."""
    if not (flag is None or isinstance(flag, bool)):
        raise ConfigError("open", f"{shown(flag)} is neither True nor False", "leave it out")


def check_connect_arguments(given: Mapping[str, Any]) -> None:
    """Check what psycopg's `connect()` takes for itself."""
    threshold = given.get("prepare_threshold")
    context = given.get("context")
    checked_types(
        given,
        {
            "autocommit": (isinstance(given.get("autocommit", False), bool), "True or False"),
            "prepare_threshold": (
                threshold is None or is_count(threshold),
                "a whole number, 0 or more, or None to prepare nothing",
            ),
            "context": (
                context is None or _has_adapters(context),
                "an object with adapters, such as a connection",
            ),
            "row_factory": (
                _callable_or_none(given.get("row_factory")),
                "a function, such as psycopg.rows.dict_row",
            ),
            "cursor_factory": (
                _callable_or_none(given.get("cursor_factory")),
                "a class, such as psycopg.AsyncCursor",
            ),
        },
    )


def _has_adapters(context: Any) -> bool:
    try:
        return hasattr(context, "adapters")
    except Exception:  # noqa: BLE001  an object may answer anything
        return False


def _callable_or_none(value: object) -> bool:
    return value is None or callable(value)


def is_duration(value: object, *, may_be_zero: bool = False) -> bool:
    """Return whether *value* is a usable number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return SHORTEST <= value <= LONGEST or (may_be_zero and value == 0)


def is_count(value: object, lowest: int = 0) -> bool:
    """Return whether *value* is a whole number, *lowest* or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest
