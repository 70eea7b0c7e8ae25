"""The settings: parsed and validated once, frozen, with secrets that never print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import conninfo as _conninfo
from .checks import Failback, WhenDown, check_connect_arguments, check_values
from .discovery import Discovery, HostsParam
from .errors import ConfigError
from .hidden import Hidden, Secrets
from .policy import Rules, Target
from .sizes import Sizes
from .sources import ConninfoParam, KwargsParam, PasswordParam, Sources, Unobtainable
from .sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from .hosts import Host

# What psycopg's connect() takes itself; everything else in `kwargs` is a parameter of libpq.
CONNECT_ARGUMENTS = frozenset(
    {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}
)

# What a manager has to know of before it can begin, and what is the same for all its life.
_FIXED = {
    *_conninfo.ADDRESS,
    *("service", "servicefile", "target_session_attrs", "connect_timeout", "load_balance_hosts"),
}

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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a manager; durations in seconds. See `ConnectionManager` for each."""

    name: str
    discovery: Discovery | None
    hosts_interval: float
    hosts: tuple[Host, ...]  # none yet, while a callable has to be asked for them
    secrets: Secrets
    sources: Sources
    connect_args: Mapping[str, Any] = field(repr=False, default_factory=dict)
    target: Target
    min_size: int
    max_size: int
    max_overflow: int
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
    num_workers: int
    reconnect_timeout: float

    @property
    def sizes(self) -> Sizes:
        """How many connections a pool may have."""
        return Sizes.of(self.min_size, self.max_size, self.max_overflow, self.max_idle)

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

    def params_of(self, host: Host, fresh: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return libpq's parameters for one host, secrets included.

        *fresh* are those that have just been asked for, in the place of the secrets'.
        """
        # Said here, as libpq would read PGTARGETSESSIONATTRS: the roles are our business.
        own = {"port": host.port, "target_session_attrs": "any"}
        known = self.secrets.reveal() if fresh is None else fresh
        params: dict[str, Any] = {**TCP_DEFAULTS, **known, **own}
        if host.host:
            params["host"] = host.host
        params["hostaddr"] = host.hostaddr or ""  # or PGHOSTADDR would take every host's place
        return params

    async def ask_sources(self) -> Hidden[tuple[dict[str, str], dict[str, Any]]]:
        """Return the parameters and psycopg's arguments, as the callables among them say now.

        Raises `Unobtainable`. What they give is a secret from then on.
        """
        text, kwargs = (await self.sources.ask_within(self.connect_timeout)).reveal()
        try:
            params, connect_args = read_params(text, kwargs, with_hosts=True)
        except ConfigError as error:
            raise Unobtainable(Failure(FailureKind.SOURCE, str(error))) from None
        for name in (*_conninfo.ADDRESS, "target_session_attrs", "connect_timeout"):
            params.pop(name, None)
        self.secrets.learn(params)
        return Hidden((params, connect_args))


def make_settings(
    conninfo: ConninfoParam,
    *,
    hosts: HostsParam | None,
    kwargs: KwargsParam | None,
    password: PasswordParam | None,
    target: str | None,
    name: str,
    asked: Hidden[tuple[str, dict[str, Any]]] | None = None,
    discovered: tuple[Host, ...] = (),
    **values: Any,
) -> Settings:
    """Parse and validate everything; raise `ConfigError` with the setting and the remedy.

    *asked* is what the callables among them have answered, and *discovered* what that for *hosts*
    has. Before they have been asked, the result may have no hosts.
    """
    sources = _sources(conninfo, kwargs, password)
    text, given = asked.reveal() if asked else sources.known()
    params, connect_args = read_params(text, given, with_hosts=hosts is None)
    unknown = sources.whole and asked is None
    discovery: Discovery | None = None
    if hosts is None:
        found = _conninfo.hosts_of(params) if not unknown else ()
    else:
        if (params.pop("host", None) or params.pop("hostaddr", None)) and not sources.whole:
            raise ConfigError(
                "hosts", "the conninfo names hosts too", "name the hosts in one place only"
            )
        port = params.pop("port", "")
        if callable(hosts):
            discovery, found = Discovery(hosts, port), discovered
        else:
            found = _conninfo.hosts_from(hosts, port)
    found = Discovery.check(found)
    wanted = params.pop("target_session_attrs", None)
    connect_timeout = _connect_timeout(params.pop("connect_timeout", None))
    check_values(values)
    if values["max_size"] is None:
        values["max_size"] = values["min_size"]
    return Settings(
        name=name,
        hosts=found,
        discovery=discovery,
        secrets=Secrets(params),
        sources=sources,
        connect_args=connect_args,
        target=_target(
            target if target is not None else wanted, many=callable(hosts) or len(found) > 1
        ),
        connect_timeout=connect_timeout,
        **values,
    )


def _sources(
    conninfo: ConninfoParam, kwargs: KwargsParam | None, password: PasswordParam | None
) -> Sources:
    """Tell what is a callable from what is known; a *password* takes the place of any other."""
    if not (password is None or isinstance(password, str) or callable(password)):
        raise ConfigError("password", "it is neither text nor callable", "give a str or a function")
    params: dict[str, Any] = {}
    if not callable(kwargs):
        kwargs = _keywords(kwargs)
        params = {
            key: value
            for key, value in kwargs.items()
            if callable(value) and key not in CONNECT_ARGUMENTS
        }
        if alone := _FIXED & params.keys():
            raise ConfigError(
                min(alone),
                "it can't be a callable by itself",
                "give its value, or give one callable for the whole of kwargs",
            )
        kwargs = {key: value for key, value in kwargs.items() if key not in params}
        if isinstance(password, str):
            kwargs["password"] = password
    if callable(password) or (password is not None and callable(kwargs)):
        params["password"] = password if callable(password) else lambda: password
    return Sources(conninfo, kwargs, params)


def read_params(
    conninfo: object, kwargs: object, *, with_hosts: bool
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return libpq's parameters and the arguments of psycopg's `connect()`; `ConfigError` if bad.

    Hosts and the like are among the parameters still.
    """
    given = _keywords(kwargs)
    connect_args = {key: given.pop(key) for key in CONNECT_ARGUMENTS & given.keys()}
    check_connect_arguments(connect_args)
    params = _conninfo.parse(_text(conninfo), given, with_hosts=with_hosts)
    if params.pop("load_balance_hosts", "disable") != "disable":
        raise ConfigError(
            "load_balance_hosts",
            "the order of the hosts is the order of preference here",
            "remove it",
        )
    _conninfo.check_by_libpq(params)
    params.setdefault("fallback_application_name", "pgmoor")
    return params, connect_args


def _keywords(kwargs: object) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if isinstance(kwargs, Mapping):
        try:
            given = dict(kwargs)
        except Exception:  # noqa: BLE001  a mapping may be anyone's
            given = {None: None}
        if all(isinstance(key, str) for key in given):
            return given
    raise ConfigError("kwargs", "it is not a mapping of names to values", "give a dict, or None")


def _text(conninfo: object) -> str:
    if isinstance(conninfo, str):
        return conninfo
    raise ConfigError("conninfo", "it is not a string", 'give "postgresql://user@host/db"')


def _target(value: object, *, many: bool) -> Target:
    if value is None:
        return Target.PRIMARY if many else Target.ANY
    try:
        return Target(value if isinstance(value, str) else "")
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
