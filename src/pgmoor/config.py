"""The settings: parsed and validated once, frozen, with secrets that never print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from . import conninfo as _conninfo
from .errors import ConfigError
from .policy import Rules, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .hosts import Host

WhenDown = Literal["wait", "fail"]
Failback = Literal["auto", "manual"]

# What psycopg's connect() takes itself; everything else in `kwargs` is a parameter of libpq.
CONNECT_ARGUMENTS = frozenset(
    {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}
)

# A peer that vanished is noticed in 10 s even by a query that waits for its answer. Keepalives
# begin after 5 s of silence; TCP_USER_TIMEOUT then ends the connection, and covers data that was
# sent and not acknowledged, which keepalives do not. It needs keepalives to be on (tcp(7)).
TCP_DEFAULTS = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "1",
    "keepalives_count": "5",
    "tcp_user_timeout": "10000",  # milliseconds
}
_SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key")


class Secrets:
    """Holds the connection parameters; shows nothing of them, and refuses to be pickled."""

    __slots__ = ("_params",)

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = dict(params)

    def __repr__(self) -> str:
        return "<secrets>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("connection parameters are not pickled: they may hold a password")

    def reveal(self) -> dict[str, str]:
        """Return the parameters in the clear, for the one call that dials."""
        return dict(self._params)

    def redact(self, text: str) -> str:
        """Return *text* with each secret value in it replaced by asterisks."""
        for name in _SECRET_PARAMETERS:
            if value := self._params.get(name):
                text = text.replace(value, "********")
        return text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a manager; durations in seconds. See `ConnectionManager` for each."""

    name: str
    hosts: tuple[Host, ...]
    secrets: Secrets
    connect_args: Mapping[str, Any] = field(repr=False, default_factory=dict)
    target: Target
    min_size: int
    max_size: int
    timeout: float
    max_waiting: int
    max_lifetime: float
    max_idle: float
    close_returns: bool
    connect_timeout: float
    health_interval: float
    health_timeout: float
    keepalive_interval: float
    validate_after: float
    stall_timeout: float
    settle: float
    failback: Failback
    failback_after: float
    cancel_timeout: float
    close_timeout: float
    when_down: WhenDown
    backoff_base: float
    backoff_cap: float
    max_tries: int | None
    max_time: float | None
    held_warning: float | None

    @property
    def rules(self) -> Rules:
        """The part that decisions rest on."""
        return Rules(
            target=self.target,
            failback=self.failback,
            failback_after=self.failback_after,
            settle=self.settle,
            stall_timeout=self.stall_timeout,
            expiry=3 * (self.health_interval + self.health_timeout),
        )

    def params_of(self, host: Host) -> dict[str, Any]:
        """Return libpq's parameters for one host, secrets included."""
        # Said here, as libpq would read PGTARGETSESSIONATTRS: the roles are our business.
        own = {"port": host.port, "target_session_attrs": "any"}
        params: dict[str, Any] = {**TCP_DEFAULTS, **self.secrets.reveal(), **own}
        if host.host:
            params["host"] = host.host
        params["hostaddr"] = host.hostaddr or ""  # or PGHOSTADDR would take every host's place
        return params


def make_settings(
    conninfo: str,
    *,
    hosts: Sequence[str] | None,
    kwargs: Mapping[str, Any] | None,
    target: str | None,
    name: str,
    **values: Any,
) -> Settings:
    """Parse and validate everything; raise `ConfigError` with the setting and the remedy."""
    given = _keywords(kwargs)
    connect_args = {key: given.pop(key) for key in CONNECT_ARGUMENTS & given.keys()}
    params = _conninfo.parse(_text(conninfo), given, with_hosts=hosts is None)
    if hosts is None:
        found = _conninfo.hosts_of(params)
    else:
        if params.pop("host", None) or params.pop("hostaddr", None):
            raise ConfigError(
                "hosts", "the conninfo names hosts too", "name the hosts in one place only"
            )
        found = _conninfo.hosts_from(hosts, params.pop("port", ""))
    if len({(host.host, host.hostaddr, host.port) for host in found}) < len(found):
        raise ConfigError("hosts", "one address stands twice", "name each server once")
    wanted = params.pop("target_session_attrs", None)
    if params.pop("load_balance_hosts", "disable") != "disable":
        raise ConfigError(
            "load_balance_hosts",
            "the order of the hosts is the order of preference here",
            "remove it",
        )
    connect_timeout = _connect_timeout(params.pop("connect_timeout", None))
    params.setdefault("fallback_application_name", "pgmoor")
    _validate(values)
    if values["max_size"] is None:
        values["max_size"] = values["min_size"]
    return Settings(
        name=name,
        hosts=found,
        secrets=Secrets(params),
        connect_args=connect_args,
        target=_target(target if target is not None else wanted, many=len(found) > 1),
        connect_timeout=connect_timeout,
        **values,
    )


def _keywords(kwargs: object) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs):
        return dict(kwargs)
    raise ConfigError("kwargs", "it is not a mapping of names to values", "give a dict, or None")


def _text(conninfo: object) -> str:
    if isinstance(conninfo, str):
        return conninfo
    raise ConfigError("conninfo", "it is not a string", 'give "postgresql://user@host/db"')


def _target(value: str | None, *, many: bool) -> Target:
    if value is None:
        return Target.PRIMARY if many else Target.ANY
    try:
        return Target(value)
    except ValueError:
        words = ", ".join(target.value for target in Target)
        raise ConfigError("target", "unknown value", f"give one of {words}") from None


DEFAULT_CONNECT_TIMEOUT = 5.0


def _connect_timeout(value: str | None) -> float:
    """Return libpq's connect_timeout in seconds; there, 0 means for ever: here, the default."""
    if value is None:
        return DEFAULT_CONNECT_TIMEOUT
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ConfigError("connect_timeout", "it is not a number", "give seconds, such as 5")
    return seconds if seconds > 0 else DEFAULT_CONNECT_TIMEOUT


_POSITIVE = (
    "timeout",
    "max_lifetime",
    "max_idle",
    "health_interval",
    "health_timeout",
    "keepalive_interval",
    "stall_timeout",
    "cancel_timeout",
    "close_timeout",
    "backoff_base",
    "backoff_cap",
)
_NOT_NEGATIVE = ("validate_after", "settle", "failback_after")
_POSITIVE_OR_NONE = ("max_time", "held_warning")


def _validate(values: Mapping[str, Any]) -> None:
    for name in _POSITIVE + _NOT_NEGATIVE + _POSITIVE_OR_NONE:
        value = values[name]
        if value is None and name in _POSITIVE_OR_NONE:
            continue
        least = "0 or more" if name in _NOT_NEGATIVE else "more than 0"
        bad = not _is_number(value) or value < 0 or (value == 0 and name not in _NOT_NEGATIVE)
        if bad:
            raise ConfigError(name, "it is not a fitting duration", f"give seconds, {least}")
    validate_sizes(values["min_size"], values["max_size"], values["max_waiting"])
    tries = values["max_tries"]
    if tries is not None and not (_is_count(tries) and tries > 0):
        raise ConfigError("max_tries", "it is not a count", "give 1 or more, or None for no limit")
    for name, kind in (("when_down", WhenDown), ("failback", Failback)):
        if values[name] not in get_args(kind):
            words = " or ".join(repr(word) for word in get_args(kind))
            raise ConfigError(name, "unknown value", f"give {words}")


def validate_sizes(min_size: object, max_size: object, max_waiting: object = 0) -> None:
    """Raise `ConfigError` unless a pool can have these limits."""
    most = min_size if max_size is None else max_size
    for name, value in (("min_size", min_size), ("max_size", most), ("max_waiting", max_waiting)):
        if not _is_count(value):
            raise ConfigError(name, "it is not a count", "give a whole number, 0 or more")
    assert isinstance(min_size, int)
    assert isinstance(most, int)
    if most < min_size:
        raise ConfigError("max_size", "it is less than min_size", "give min_size or more")
    if most == 0:
        raise ConfigError("max_size", "no connection could ever be made", "give 1 or more")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value < math.inf


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
