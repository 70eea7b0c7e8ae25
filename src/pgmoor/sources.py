"""What is asked anew for each dial: parameters of a connection that are given as callables."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio

from . import cancelled
from .errors import ConfigError
from .hidden import Hidden
from .sqlstate import Failure, FailureKind

ConninfoParam = str | Callable[[], str] | Callable[[], Awaitable[str]]
KwargsParam = (
    Mapping[str, Any] | Callable[[], Mapping[str, Any]] | Callable[[], Awaitable[Mapping[str, Any]]]
)
PasswordParam = str | Callable[[], str] | Callable[[], Awaitable[str]]


class Unobtainable(Exception):  # noqa: N818  it is no fault of the program
    """A callable that was asked for connection parameters gave none."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Sources:
    """What was given to connect with, the callables among it: *params*, by libpq's names."""

    __slots__ = ("_given",)

    def __init__(
        self,
        conninfo: ConninfoParam,
        kwargs: KwargsParam | None,
        params: Mapping[str, Callable[[], Any]],
    ) -> None:
        self._given = Hidden((conninfo, kwargs, params))

    def __bool__(self) -> bool:
        """Whether anything has to be asked."""
        return bool(self.names())

    @property
    def whole(self) -> bool:
        """Whether nothing at all is known before it is asked, not even the hosts."""
        conninfo, kwargs, _ = self._given.reveal()
        return callable(conninfo) or callable(kwargs)

    def known(self) -> tuple[Any, Any]:
        """Return the conninfo and `kwargs`, as far as they are known before anything is asked."""
        conninfo, kwargs, _ = self._given.reveal()
        return "" if callable(conninfo) else conninfo, None if callable(kwargs) else kwargs

    async def ask(self) -> Hidden[tuple[str, dict[str, Any]]]:
        """Return the conninfo and `kwargs` as they are now, with all parameters as plain values.

        What the callables raise goes through.
        """
        try:
            return Hidden(await self._ask())
        except Exception as error:  # noqa: BLE001  it goes through
            # Without the frames between here and the callable: their variables hold the answers.
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
                trace = trace.tb_next
            raise error.with_traceback(trace)  # noqa: B904  it is the same error

    async def _ask(self) -> tuple[str, dict[str, Any]]:
        conninfo, kwargs, params = self._given.reveal()
        text = await _value_of("conninfo", conninfo, str) if callable(conninfo) else conninfo
        given = await _value_of("kwargs", kwargs, Mapping) if callable(kwargs) else kwargs
        found = dict(given or {})
        for name, source in params.items():
            found[name] = await _value_of(name, source, str)
        return text, found

    async def ask_within(self, seconds: float) -> Hidden[tuple[str, dict[str, Any]]]:
        """Do what `ask()` does; raise `Unobtainable`, and nothing else, when there is no answer.

        What a callable raises is not quoted: it may hold what it was to give.
        """
        what = " or ".join(self.names())
        try:
            with anyio.fail_after(seconds):
                return await self.ask()
        except asyncio.CancelledError:
            if cancelled.is_ours():
                raise
            text = f"the callable for {what} was cancelled"
        except TimeoutError:
            text = f"the callable for {what} gave nothing within {seconds:g} s"
        except ConfigError as error:
            text = str(error)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  the callables are the user's
            text = f"the callable for {what} raised {type(error).__name__}"
        raise Unobtainable(Failure(FailureKind.SOURCE, text))

    def names(self) -> list[str]:
        """Return the names of the settings that are callables."""
        conninfo, kwargs, params = self._given.reveal()
        whole = {"conninfo": conninfo, "kwargs": kwargs}
        return [name for name, value in whole.items() if callable(value)] + list(params)


async def _value_of(name: str, source: Callable[[], Any], kind: type) -> Any:
    value = source()
    if inspect.isawaitable(value):
        value = await value
    if not isinstance(value, kind):
        wanted = "a string" if kind is str else "a mapping of names to values"
        raise ConfigError(name, "its callable returned something else", f"let it return {wanted}")
    return value
