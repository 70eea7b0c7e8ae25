"""Settings that are callables: called for new connections, and for the list of hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.util.asynctools import CallFailed, call_within, value_of
from pgmoor._core.util.secrets import Hidden
from pgmoor.errors import ConfigError

from .host_list import distinct, hosts_from

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pgmoor._core.hosts.host import Host

T = TypeVar("T")

ConninfoParam = str | Callable[[], str] | Callable[[], Awaitable[str]]
KwargsParam = (
    Mapping[str, Any] | Callable[[], Mapping[str, Any]] | Callable[[], Awaitable[Mapping[str, Any]]]
)
PasswordParam = str | Callable[[], str] | Callable[[], Awaitable[str]]
HostsCallable = Callable[[], Sequence[str]] | Callable[[], Awaitable[Sequence[str]]]
HostsParam = Sequence[str] | HostsCallable


class CallableFailed(Exception):  # noqa: N818  the fault is not the program's
    """A callable among the settings returned nothing usable."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


async def _within(
    seconds: float, call: Callable[[], Coroutine[Any, Any, T]], what: str, kind: FailureKind
) -> T:
    try:
        return await call_within(seconds, call, what, show=ConfigError)
    except CallFailed as error:
        raise CallableFailed(Failure(kind, str(error))) from None


class SettingCallables:
    """The conninfo, `kwargs` and single parameters as given, the callables among them included."""

    __slots__ = ("_given",)

    def __init__(
        self,
        conninfo: ConninfoParam,
        kwargs: KwargsParam | None,
        params: Mapping[str, Callable[[], Any]],
    ) -> None:
        self._given = Hidden((conninfo, kwargs, params))

    def __bool__(self) -> bool:
        """Whether any of them is a callable."""
        return bool(self.names())

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

        Raises what the callables raise.
        """
        try:
            return Hidden(await self._call())
        except Exception as error:  # noqa: BLE001  it is raised again
            # Drop the frames between here and the callable: their variables hold the answers.
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename in _OUR_FILES:
                trace = trace.tb_next
            raise error.with_traceback(trace)  # noqa: B904  it is the same error

    async def _call(self) -> tuple[str, dict[str, Any]]:
        conninfo, kwargs, params = self._given.reveal()
        text = await _value_of("conninfo", conninfo, str) if callable(conninfo) else conninfo
        given = await _value_of("kwargs", kwargs, Mapping) if callable(kwargs) else kwargs
        found = dict(given or {})
        for name, source in params.items():
            found[name] = await _value_of(name, source, str)
        return text, found

    async def call_within(self, seconds: float) -> Hidden[tuple[str, dict[str, Any]]]:
        """Do what `call()` does, but raise only `CallableFailed`; its text quotes no answer."""
        return await _within(seconds, self.call, " or ".join(self.names()), FailureKind.SOURCE)

    def names(self) -> list[str]:
        """Return the names of the settings that are callables."""
        conninfo, kwargs, params = self._given.reveal()
        whole = {"conninfo": conninfo, "kwargs": kwargs}
        return [name for name, value in whole.items() if callable(value)] + list(params)


# value_of() of asynctools has a frame between here and the callable, too.
_OUR_FILES = frozenset({__file__, value_of.__code__.co_filename})


async def _value_of(name: str, source: Callable[[], Any], kind: type) -> Any:
    value = await value_of(source)
    if not isinstance(value, kind):
        wanted = "a string" if kind is str else "a mapping of names to values"
        raise ConfigError(name, "its callable returned something else", f"let it return {wanted}")
    return value


class HostDiscovery:
    """The callable that was given as `hosts`."""

    def __init__(self, source: HostsCallable, default_port: str = "") -> None:
        self._source = source
        self._default_port = default_port

    async def call(self) -> tuple[Host, ...]:
        """Return the hosts as they are now; raise what the callable raises.

        Raises `ConfigError` for an answer that is no list of addresses.
        """
        return distinct(hosts_from(await value_of(self._source), self._default_port))

    async def call_within(self, seconds: float) -> tuple[Host, ...]:
        """Do what `call()` does, but raise only `CallableFailed`."""
        return await _within(seconds, self.call, "hosts", FailureKind.CONFIGURATION)
