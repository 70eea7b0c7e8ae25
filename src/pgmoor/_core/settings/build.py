"""`make_settings()`: a manager's arguments, parsed and validated once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pgmoor._core.hosts.rules import Target
from pgmoor._core.util.secrets import Secrets
from pgmoor.errors import ConfigError

from .callables import HostDiscovery, SettingCallables
from .host_list import ADDRESS, distinct, hosts_from, hosts_of
from .mistakes import shown
from .parameters import is_argument, keywords, read_params
from .password import PasswordCallable
from .settings import Settings
from .sizes import Sizes
from .validation import check_values, unknown_word

if TYPE_CHECKING:
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.hosts.rules import TargetName
    from pgmoor._core.util.secrets import Hidden

    from .callables import ConninfoParam, HostsParam, KwargsParam
    from .password import PasswordParam

SIZES = ("min_size", "max_size", "max_overflow", "max_idle")
# A manager must know these before it begins, and they stay the same for all its life.
_FIXED = {
    *ADDRESS,
    *("service", "servicefile", "target_session_attrs", "connect_timeout", "load_balance_hosts"),
}


def make_settings(
    conninfo: ConninfoParam,
    *,
    hosts: HostsParam | None,
    kwargs: KwargsParam | None,
    password: PasswordParam | None,
    target: Target | TargetName | None,
    name: str,
    own_connect: bool = False,
    asked: Hidden[tuple[str, dict[str, Any]]] | None = None,
    discovered: tuple[Host, ...] = (),
    **values: Any,
) -> Settings:
    """Parse and validate all settings; raise `ConfigError` with the setting and the remedy.

    *asked* is what the callables have returned, *discovered* what the one for *hosts* has. Before
    they were called, the result may have no hosts. *own_connect* is as in `is_argument()`.
    """
    callables = _callables(conninfo, kwargs, password, own_connect=own_connect)
    text, keys = asked.reveal() if asked else callables.known()
    given = read_params(text, keys, with_hosts=hosts is None, own_connect=own_connect)
    params = given.libpq
    unknown = callables.whole and asked is None
    discovery: HostDiscovery | None = None
    if hosts is None:
        found = hosts_of(params) if not unknown else ()
    else:
        port = _only_port(params, may_name_hosts=callables.whole)
        if callable(hosts):
            discovery, found = HostDiscovery(hosts, port), discovered
        else:
            found = hosts_from(hosts, port)
    wanted = params.pop("target_session_attrs", None)
    connect_timeout = _connect_timeout(params.pop("connect_timeout", None))
    check_values(values)
    sizes = Sizes.of(*(values[name] for name in SIZES))
    values.update(min_size=sizes.min_size, max_size=sizes.max_size)
    return Settings(
        name=name,
        hosts=distinct(found),
        discovery=discovery,
        secrets=Secrets(params, given.arguments),
        callables=callables,
        own_connect=own_connect,
        connect_args=given.arguments,
        in_kwargs=given.in_kwargs,
        target=_target(
            target if target is not None else wanted, many=callable(hosts) or len(found) > 1
        ),
        connect_timeout=connect_timeout,
        **values,
    )


def _only_port(params: dict[str, str], *, may_name_hosts: bool) -> str:
    """Remove host, hostaddr and port from *params*, beside `hosts=`; return the default port."""
    named = params.pop("host", None) or params.pop("hostaddr", None)
    if named and not may_name_hosts:
        raise ConfigError(
            "hosts", "the conninfo names hosts too", "name the hosts in one place only"
        )
    return params.pop("port", "")


def _callables(
    conninfo: ConninfoParam,
    kwargs: KwargsParam | None,
    password: PasswordParam | None,
    *,
    own_connect: bool,
) -> SettingCallables:
    """Separate callables from values; a *password* replaces any other."""
    if not (password is None or isinstance(password, str) or callable(password)):
        raise ConfigError("password", f"it is {shown(password)}", "give a str or a function")
    params: dict[str, Any] = {}
    if not callable(kwargs):
        kwargs = keywords(kwargs)
        params = {
            key: value
            for key, value in kwargs.items()
            if callable(value) and not is_argument(key, own_connect=own_connect)
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
    source = params.pop("password", None)
    for_password = None if source is None else PasswordCallable(source)
    return SettingCallables(conninfo, kwargs, params, for_password)


def _target(value: object, *, many: bool) -> Target:
    if value is None:
        return Target.PRIMARY if many else Target.ANY
    try:
        return Target(value if isinstance(value, str) else "")
    except ValueError:
        words = [target.value for target in Target]
        raise unknown_word("target", value, f"one of {', '.join(words)}", words) from None


DEFAULT_CONNECT_TIMEOUT = 5.0


def _connect_timeout(value: str | None) -> float:
    """Return connect_timeout in seconds. 0, in libpq without a limit, means the default here."""
    if value is None:
        return DEFAULT_CONNECT_TIMEOUT
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ConfigError("connect_timeout", "it is not a number", "give seconds, such as 5")
    return seconds if seconds > 0 else DEFAULT_CONNECT_TIMEOUT
