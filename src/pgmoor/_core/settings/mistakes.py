"""What a mistaken setting is called here, what was given, and what was probably meant. Pure.

No text quotes a value that may be a secret: of a string, only its type is named.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from pgmoor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

# Of `ConnectionManager`; tests/settings/test_mistaken_settings.py compares them with its signature.
ARGUMENTS = (
    *("conninfo", "hosts", "hosts_interval", "target", "password", "connection_class", "kwargs"),
    *("open", "configure", "check", "reset", "name", "min_size", "max_size", "max_overflow"),
    *("timeout", "max_waiting", "max_lifetime", "max_idle", "reconnect_timeout"),
    *("reconnect_failed", "num_workers", "close_returns", "health_interval", "health_timeout"),
    *("keepalive_interval", "validate_after", "stall_timeout", "settle", "failback"),
    *("failback_after", "cancel_timeout", "close_timeout", "when_down", "backoff_base"),
    *("backoff_cap", "max_tries", "max_time", "held_warning", "quiet_after", "keep_keys"),
    *("watch", "on_event", "alerts"),
)
# What other pools, drivers and frameworks call one of them.
RENAMED = {
    **dict.fromkeys(("dsn", "url", "database_url", "connection_string"), "conninfo"),
    **dict.fromkeys(("minsize", "minconn", "min", "min_connections"), "min_size"),
    **dict.fromkeys(("maxsize", "maxconn", "max", "max_connections", "size"), "max_size"),
    **dict.fromkeys(("pool_size", "connection_limit", "max_pool_size"), "max_size"),
    **dict.fromkeys(("min_pool_size",), "min_size"),
    **dict.fromkeys(("pool_timeout", "acquire_timeout"), "timeout"),
    **dict.fromkeys(("pool_recycle", "recycle", "conn_max_age", "CONN_MAX_AGE"), "max_lifetime"),
    "max_queries": "max_lifetime",
    "max_inactive_connection_lifetime": "max_idle",
    "idle_timeout": "max_idle",
    "pool_max_overflow": "max_overflow",
    "init": "configure",
    "setup": "check",
    "on_connect": "configure",
    **dict.fromkeys(("connect_args", "connect_kwargs", "server_settings"), "kwargs"),
    **dict.fromkeys(("creator", "async_creator"), "connection_class"),
    **dict.fromkeys(("pool_reset_on_return", "reset_on_return"), "reset"),
    "refresh_delay": "health_interval",
    "refresh_timeout": "health_timeout",
    "pool_name": "name",
}
_TESTED = "leave it out: every checkout is tested; validate_after=0 pings each time"
_POOLED = "leave it out: the manager is the pool"
_UNPREPARED = 'give kwargs={"prepare_threshold": None}, or a number'
# What is done in another way here.
OTHERWISE = {
    **dict.fromkeys(("pool_pre_ping", "pre_ping", "conn_health_checks"), _TESTED),
    "CONN_HEALTH_CHECKS": _TESTED,
    **dict.fromkeys(("pool", "poolclass", "pool_class"), _POOLED),
    **dict.fromkeys(("pool_use_lifo", "use_lifo", "loop", "echo_pool", "echo"), "leave it out"),
    **dict.fromkeys(
        ("command_timeout", "statement_timeout"),
        'give kwargs={"options": "-c statement_timeout=10s"}, or use asyncio.timeout()',
    ),
    "statement_cache_size": _UNPREPARED,
    "prepared_statement_cache_size": _UNPREPARED,
    "pgbouncer": "leave it out: poolers are recognised",
    "record_class": 'give kwargs={"row_factory": ...}',
    "ssl": "give sslmode, such as sslmode=verify-full, in the conninfo or in kwargs",
    "sslcontext": "give sslmode, sslrootcert and so on in the conninfo or in kwargs",
    "database": "libpq calls it dbname, in the conninfo or in kwargs",
    "username": "libpq calls it user, in the conninfo or in kwargs",
    "passwd": "libpq calls it password",
    "charset": "libpq calls it client_encoding, in the conninfo or in kwargs",
    "schema": 'give kwargs={"options": "-c search_path=..."}',
    "currentSchema": 'give kwargs={"options": "-c search_path=..."}',
    "search_path": 'give kwargs={"options": "-c search_path=..."}',
    "isolation_level": "set it in configure, or give run() and transaction() an isolation",
}
WORDS = {
    **dict.fromkeys(("master", "leader", "writer", "rw"), "primary"),
    **dict.fromkeys(("slave", "replica", "secondary", "reader", "ro"), "standby"),
    **dict.fromkeys(("prefer-replica", "prefer-slave", "preferred-standby"), "prefer-standby"),
    **dict.fromkeys(("automatic", "on"), "auto"),
    **dict.fromkeys(("block", "queue"), "wait"),
    **dict.fromkeys(("raise", "error"), "fail"),
}

_CLOSE = 0.75
_type_name = type.__dict__["__name__"].__get__


def shown(value: object) -> str:
    """Return what was given, as far as it can't be a secret: a number, None, or else its type."""
    if value is None or isinstance(value, bool):
        return str(value)
    if type(value) is float:
        return repr(value)
    if type(value) is int:
        return repr(value) if abs(value) < 10**12 else "so large an int"
    kind = str(_type_name(type(value)))
    if not (kind.isidentifier() and kind.isascii() and len(kind) < 40):
        return "an object"
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def refuse_arguments(names: Iterable[str], parameters: Collection[str]) -> None:
    """Raise `ConfigError` for an argument that `ConnectionManager` doesn't have.

    *parameters* are what `kwargs` takes.
    """
    for name in names:
        remedy = in_our_words(name)
        if remedy is None and name in parameters:
            remedy = f'give it in the conninfo, or as kwargs={{"{name}": ...}}'
        remedy = remedy or _meant(name, ARGUMENTS)
        known = remedy is not None or re.fullmatch("[a-zA-Z][a-zA-Z0-9_]{1,40}", name)
        raise ConfigError(
            name if known else "an argument",
            "there is no such setting",
            remedy or "correct its spelling, or remove it",
        )


def remedy_for_parameter(name: str, parameters: Iterable[str]) -> str | None:
    """Return what to do about *name*, which is no parameter of libpq, if its meaning is known."""
    name = "".join(name)  # `str()` of a subclass may differ
    if name in ARGUMENTS:
        return f"give {name} to ConnectionManager itself"
    return in_our_words(name) or _meant(name, parameters)


def in_our_words(name: str) -> str | None:
    """Return what to give instead of another pool's argument."""
    if name in RENAMED:
        return f"ConnectionManager calls it {RENAMED[name]}"
    return OTHERWISE.get(name)


def meant_among(value: object, words: Iterable[str]) -> str:
    """Return a question if one of *words* was probably meant; it begins with a comma."""
    if not isinstance(value, str):
        return ""
    words = list(words)
    word = "".join(value).lower().replace("_", "-")
    found = WORDS.get(word, "")
    if found not in words:
        found = next(iter(difflib.get_close_matches(word[:40], words, 1, _CLOSE)), "")
    return f"; did you mean {found}?" if found else ""


def _meant(name: str, names: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name.lower()[:40], list(names), 1, _CLOSE)
    return f"did you mean {found[0]}?" if found else None


def unreadable(conninfo: str, parameters: Collection[str]) -> tuple[str, str] | None:
    """Return why libpq can't read *conninfo*, and the remedy, if that is known.

    A name is shown only if it is that of a setting, or nearly: any other may be half a password.
    """
    if re.match(r"jdbc:", conninfo):
        return "it is a URL for JDBC", "give postgresql://user@host/db"
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", conninfo):
        if not re.match(r"postgres(ql)?://", conninfo):
            return "it is a URI of another kind", "begin it with postgresql://"
        named = re.findall(r"[?&]([A-Za-z_]+)=", conninfo)
    else:
        named = re.findall(r"(?:^|\s)([A-Za-z_]+)\s*=", conninfo)
    for name in named:
        if name not in parameters and (remedy := remedy_for_parameter(name, parameters)):
            found = name if name in {*ARGUMENTS, *RENAMED, *OTHERWISE} else "a name in it"
            return f"{found} is not a connection parameter of this libpq", remedy
    return None


_DRIVER = re.compile(r"(postgres(?:ql)?)\+[a-z][a-z0-9_]*(?=://)")


def without_driver(conninfo: str) -> str:
    """Return *conninfo* without the driver that SQLAlchemy's URLs name: `postgresql+psycopg://`."""
    return _DRIVER.sub(r"\1", conninfo, count=1) if _DRIVER.match(conninfo) else conninfo


def checked_types(given: Mapping[str, object], good: Mapping[str, tuple[bool, str]]) -> None:
    """Raise `ConfigError` for a value in `kwargs` that isn't *good*, with what is accepted."""
    for name, (is_good, accepted) in good.items():
        if not is_good:
            raise ConfigError("kwargs", f"{name} is {shown(given.get(name))}", f"give {accepted}")
