"""`Settings`: all settings of a manager, frozen, with secrets that no text shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.rules import FailoverRules
from pgmoor._core.util.secrets import Hidden
from pgmoor.errors import ConfigError

from .calls import CallableFailed
from .host_list import ADDRESS
from .parameters import ConnectParams, read_params
from .sizes import Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.hosts.rules import Target
    from pgmoor._core.util.secrets import Secrets

    from .callables import HostDiscovery, SettingCallables
    from .password import Password
    from .validation import Failback, WhenDown

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
NO_LIMIT = 3600  # seconds, as connect_timeout: only our own limit counts


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a manager; durations in seconds. See `ConnectionManager` for each."""

    name: str
    discovery: HostDiscovery | None
    hosts_interval: float
    hosts: tuple[Host, ...]  # empty until a callable was called for them
    secrets: Secrets
    callables: SettingCallables
    own_connect: bool = False  # the connection class has a `connect()` of its own
    connect_args: Mapping[str, Any] = field(repr=False, default_factory=dict)
    in_kwargs: frozenset[str] = frozenset()  # the parameters of libpq that were given there
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
    quiet_after: float | None
    keep_keys: float
    num_workers: int
    reconnect_timeout: float

    @property
    def sizes(self) -> Sizes:
        """How many connections a pool may have."""
        return Sizes.of(self.min_size, self.max_size, self.max_overflow, self.max_idle)

    @property
    def rules(self) -> FailoverRules:
        """The settings that decisions rest on."""
        return FailoverRules(
            target=self.target,
            failback=self.failback,
            failback_after=self.failback_after,
            settle=self.settle,
            stall_timeout=self.stall_timeout,
            expiry=3 * (self.health_interval + self.health_timeout),
        )

    def params_of(self, host: Host, fresh: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return libpq's parameters for one host, secrets included.

        *fresh* are what the callables have just returned; they replace the known parameters.
        """
        # Set here, or libpq would read PGTARGETSESSIONATTRS: pgmoor decides by roles itself.
        own = {"port": host.port, "target_session_attrs": "any"}
        known = self.secrets.reveal() if fresh is None else fresh
        params: dict[str, Any] = {**TCP_DEFAULTS, **known, **own}
        if host.host:
            params["host"] = host.host
        params["hostaddr"] = host.hostaddr or ""  # or PGHOSTADDR would replace every host
        return params

    def connect_call(
        self, host: Host, hostaddr: str | None = None, fresh: ConnectParams | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Return what `connect()` of the connection class gets: a conninfo, and keywords.

        The conninfo says everything, for one host. What the program gave in `kwargs` is among the
        keywords as well, as with psycopg_pool, with the host's values in place of the program's.
        *hostaddr* is an address of the host's name.
        """
        given = fresh or ConnectParams(
            self.secrets.reveal(), dict(self.connect_args), self.in_kwargs
        )
        params = {**self.params_of(host, given.libpq), "connect_timeout": NO_LIMIT}
        if hostaddr:
            params["hostaddr"] = hostaddr
        named = {name: params[name] for name in given.in_kwargs & params.keys()}
        return make_conninfo("", **params), {**named, **given.arguments}

    async def fresh_params(self) -> Hidden[ConnectParams]:
        """Call the callables, but not the password's; return what they say now.

        Raises `CallableFailed`. Secret values among them are redacted from then on.
        """
        text, kwargs = (await self.callables.call_within(self.connect_timeout)).reveal()
        try:
            given = read_params(text, kwargs, with_hosts=True, own_connect=self.own_connect)
        except ConfigError as error:
            raise CallableFailed(Failure(FailureKind.SOURCE, str(error))) from None
        for name in (*ADDRESS, "target_session_attrs", "connect_timeout"):
            given.libpq.pop(name, None)
        self.secrets.learn(given.libpq, given.arguments)
        return Hidden(given)

    async def fresh_password(self, host: Host | None) -> Password:
        """Call the password's callable, for *host* if it takes one.

        Raises `CallableFailed`. The password is redacted from then on.
        """
        assert self.callables.password is not None
        found = await self.callables.password.call_within(self.connect_timeout, host)
        given = {"password": found.value.reveal()}
        try:
            read_params("", given, with_hosts=False)
        except ConfigError as error:
            raise CallableFailed(Failure(FailureKind.SOURCE, str(error))) from None
        self.secrets.learn(given)
        return found
