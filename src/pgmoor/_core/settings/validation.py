"""Checks values of settings; raises `ConfigError` with a remedy.

No value is quoted, and none of a class of the user's is asked to show or compare itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from psycopg import AsyncConnection

from pgmoor.errors import ConfigError

from .sizes import Sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_POSITIVE_OR_NONE = ("max_time", "held_warning")

# Seconds. Beyond these, sums and products of durations may overflow.
SHORTEST, LONGEST = 1e-6, 1e20


def check_values(values: Mapping[str, Any]) -> None:
    """Check durations, counts and words."""
    for name in _POSITIVE + _NOT_NEGATIVE + _POSITIVE_OR_NONE:
        value = values[name]
        if value is None and name in _POSITIVE_OR_NONE:
            continue
        may_be_zero = name in _NOT_NEGATIVE
        if not is_duration(value, may_be_zero=may_be_zero):
            least = "0 or more" if may_be_zero else "more than 0"
            raise ConfigError(name, "it is not a usable duration", f"give seconds, {least}")
    Sizes.of(values["min_size"], values["max_size"], values["max_overflow"], values["max_idle"])
    for name, lowest in (("max_waiting", 0), ("num_workers", 1)):
        if not is_count(values[name], lowest):
            raise ConfigError(name, "it is not a count", f"give a whole number, {lowest} or more")
    tries = values["max_tries"]
    if tries is not None and not is_count(tries, 1):
        raise ConfigError("max_tries", "it is not a count", "give 1 or more, or None for no limit")
    for name, kind in (("when_down", WhenDown), ("failback", Failback)):
        if not isinstance(values[name], str) or values[name] not in get_args(kind):
            words = " or ".join(repr(word) for word in get_args(kind))
            raise ConfigError(name, "unknown value", f"give {words}")
    if not isinstance(values["close_returns"], bool):
        raise ConfigError("close_returns", "it is neither True nor False", "give one of them")


def class_of(connection_class: object) -> type[AsyncConnection[Any]]:
    """Return the connection class; `AsyncConnection[DictRow]` is one, too."""
    found = get_origin(connection_class) or connection_class
    if not (isinstance(found, type) and issubclass(found, AsyncConnection)):
        raise ConfigError(
            "connection_class", "it is not a connection class", "derive it from AsyncConnection"
        )
    return found


def check_hooks(hooks: Mapping[str, object]) -> None:
    """Check the callables that the program gives to be called."""
    for name, hook in hooks.items():
        if not (hook is None or callable(hook)):
            raise ConfigError(name, "it is not callable", "give a function, or None")


def check_name(name: object) -> None:
    """Check the manager's name, which is in each line of the log."""
    if not (name is None or (isinstance(name, str) and name.isprintable())):
        raise ConfigError("name", "it is no printable text", "give a str in one line, or None")


def name_or_number(name: Any, numbers: Iterator[int]) -> Any:
    """Return *name*, or one with the next number if there is none."""
    if isinstance(name, str):
        name = "".join(name) or None  # `str()` of a subclass may differ
    return f"pgmoor-{next(numbers)}" if name is None else name


def check_open(flag: object) -> None:
    """Check psycopg_pool's `open`."""
    if not (flag is None or isinstance(flag, bool)):
        raise ConfigError("open", "it is neither True nor False", "leave it out")


def check_connect_arguments(given: Mapping[str, Any]) -> None:
    """Check what psycopg's `connect()` takes for itself."""
    threshold = given.get("prepare_threshold")
    context = given.get("context")
    good = {
        "autocommit": isinstance(given.get("autocommit", False), bool),
        "prepare_threshold": threshold is None or is_count(threshold),
        "context": context is None or _has_adapters(context),
        "row_factory": _callable_or_none(given.get("row_factory")),
        "cursor_factory": _callable_or_none(given.get("cursor_factory")),
    }
    for name, is_good in good.items():
        if not is_good:
            raise ConfigError(
                "kwargs", f"{name} is not what psycopg's connect() takes", "see its documentation"
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
