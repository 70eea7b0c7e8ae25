"""Settings that are callables: called for new connections, and for the list of hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.util.asynctools import value_of
from pgmoor._core.util.secrets import Hidden
from pgmoor.errors import ConfigError

from .calls import check_arguments, kind_of, within
from .conninfo import known_names
from .host_list import distinct, hosts_from
from .password import PasswordCallable

if TYPE_CHECKING:
    from pgmoor._core.hosts.host import Host

ConninfoParam = str | Callable[[], str] | Callable[[], Awaitable[str]]
KwargsParam = (
    Mapping[str, Any] | Callable[[], Mapping[str, Any]] | Callable[[], Awaitable[Mapping[str, Any]]]
)
HostsCallable = Callable[[], Sequence[str]] | Callable[[], Awaitable[Sequence[str]]]
HostsParam = Sequence[str] | HostsCallable


class SettingCallables:
    """The conninfo, `kwargs` and single parameters as given, the callables among them included.

    One for the password is apart: it may be called for each host, and its answers may expire.
    """

    __slots__ = ("_given", "password")

    def __init__(
        self,
        conninfo: ConninfoParam,
        kwargs: KwargsParam | None,
        params: Mapping[str, Callable[[], Any]],
        password: PasswordCallable | None = None,
    ) -> None:
        self._given = Hidden((conninfo, kwargs, params))
        self.password = password
        named = {"conninfo": conninfo, "kwargs": kwargs, **params}
        for name, source in named.items():
            if callable(source):
                known = name in named.keys() - params.keys() or name in known_names()
                check_arguments(name if known else "kwargs", source)

    def __bool__(self) -> bool:
        """Whether any of them is a callable."""
        return self.password is not None or bool(self.names())

    @property
    def whole(self) -> bool:
        """Whether not even the hosts are known before a callable is called."""
        conninfo, kwargs, _ = self._given.reveal()
        return callable(conninfo) or callable(kwargs)

    def known(self) -> tuple[Any, Any]:
        """Return the conninfo and `kwargs`, as far as they are known before anything is called."""
        conninfo, kwargs, _ = self._given.reveal()
        return "" if callable(conninfo) else conninfo, None if callable(kwargs) else kwargs

    async def call(self) -> Hidden[tuple[str, dict[str, Any]]]:
        """Return the conninfo and `kwargs` as they are now, with all parameters as plain values.

        A password for each host is left out. Raises what the callables raise.
        """
        try:
            return Hidden(await self._call_all())
        except Exception as error:  # noqa: BLE001  it is raised again
            # Drop the frames between here and the callable: their variables hold the answers.
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename in _OUR_FILES:
                trace = trace.tb_next
            raise error.with_traceback(trace)  # noqa: B904  it is the same error

    async def _call_all(self) -> tuple[str, dict[str, Any]]:
        text, found = await self._call()
        if self.password is not None and not self.password.takes_host:
            found["password"] = (await self.password.call()).value.reveal()
        return text, found

    async def _call(self) -> tuple[str, dict[str, Any]]:
        conninfo, kwargs, params = self._given.reveal()
        text = await _value_of("conninfo", conninfo, str) if callable(conninfo) else conninfo
        given = await _value_of("kwargs", kwargs, Mapping) if callable(kwargs) else kwargs
        found = dict(given or {})
        for name, source in params.items():
            found[name] = await _value_of(name, source, str)
        return text, found

    async def call_within(self, seconds: float) -> Hidden[tuple[str, dict[str, Any]]]:
        """Do what `call()` does without the password; raise only `CallableFailed`.

        Its text quotes no answer.
        """

        async def call() -> Hidden[tuple[str, dict[str, Any]]]:
            return Hidden(await self._call())

        return await within(seconds, call, " or ".join(self.names()), FailureKind.SOURCE)

    def names(self) -> list[str]:
        """Return the names of the settings that are callables, apart from the password."""
        conninfo, kwargs, params = self._given.reveal()
        whole = {"conninfo": conninfo, "kwargs": kwargs}
        return [name for name, value in whole.items() if callable(value)] + list(params)


# value_of() of asynctools has a frame between here and the callable, too.
_OUR_FILES = frozenset(
    called.__code__.co_filename for called in (check_arguments, value_of, PasswordCallable.call)
) | {__file__}


async def _value_of(name: str, source: Callable[[], Any], kind: type) -> Any:
    value = await value_of(source)
    if not isinstance(value, kind):
        wanted = "a string" if kind is str else "a mapping of names to values"
        raise ConfigError(
            name, f"its callable returned {kind_of(value)}", f"let it return {wanted}"
        )
    return value


class HostDiscovery:
    """The callable that was given as `hosts`."""

    def __init__(self, source: HostsCallable, default_port: str = "") -> None:
        check_arguments("hosts", source)
        self._source = source
        self._default_port = default_port

    async def call(self) -> tuple[Host, ...]:
        """Return the hosts as they are now; raise what the callable raises.

        Raises `ConfigError` for an answer that is no list of addresses.
        """
        return distinct(hosts_from(await value_of(self._source), self._default_port))

    async def call_within(self, seconds: float) -> tuple[Host, ...]:
        """Do what `call()` does, but raise only `CallableFailed`."""
        return await within(seconds, self.call, "hosts", FailureKind.CONFIGURATION)
