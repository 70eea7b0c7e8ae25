"""`ConnectionManager`: the public face; what it holds open is a `Runtime`."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import warnings
from time import monotonic
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    cast,
)

import anyio
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from psycopg_pool.abc import ACT

from pgmoor._core.connection.managed import ManagedConnection
from pgmoor._core.connection.users_class import has_own_connect
from pgmoor._core.failover.host_watch import HostWatch, watch_for
from pgmoor._core.pool.idle import check_idle
from pgmoor._core.reporting.instrument_list import Guarded
from pgmoor._core.reporting.listeners import EventStream, Listeners
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.settings.build import make_settings
from pgmoor._core.settings.mistakes import shown
from pgmoor._core.settings.parameters import refuse_unknown
from pgmoor._core.settings.sizes import MIN_SIZE, Sizes
from pgmoor._core.settings.tls import calling_place, warn_of_weak_tls
from pgmoor._core.settings.validation import (
    check_callback,
    check_hooks,
    check_name,
    check_open,
    check_timeout,
    class_of,
    name_or_number,
)
from pgmoor._core.util import forking
from pgmoor._core.util.asynctools import spawn, value_of, wait_for_end
from pgmoor._core.util.secrets import Hidden
from pgmoor._core.util.weak_methods import weakly
from pgmoor._core.work.arguments import check_arguments, check_function
from pgmoor._core.work.statements import Modes
from pgmoor.errors import ConfigError, ManagerClosed, NoHostAvailable, PoolExhausted
from pgmoor.health import Health, State
from pgmoor.instruments import Instrument

from .sibling import arguments_of, sibling_arguments
from .snapshot import unopened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.hosts.rules import Target, TargetName
    from pgmoor._core.pool.checkout import Checkout
    from pgmoor._core.pool.checkout_queue import CheckoutQueue
    from pgmoor._core.settings.callables import (
        ConninfoParam,
        HostsParam,
        KwargsParam,
    )
    from pgmoor._core.settings.password import PasswordParam
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.settings.validation import Failback, WhenDown
    from pgmoor._core.work.retry import Retry
    from pgmoor._core.work.statements import Isolation
    from pgmoor._core.work.work import Block, Retrying
    from pgmoor.events import Event

    from .alerting import Alerts, AlertService
    from .runtime import Runtime

logger = logging.getLogger("pgmoor.manager")

P = ParamSpec("P")
T = TypeVar("T")

_numbers = itertools.count(1)


class ConnectionManager(Generic[ACT]):
    """Keeps your asyncio program connected to PostgreSQL. All durations are in seconds.

    It connects to nothing before `open()` or `async with`. A dial is reported as failed after the
    conninfo's `connect_timeout` (default 5). If the server has received it, it goes on, for up to
    two minutes.

    Args:
        conninfo: A libpq connection string or URI; it may list several hosts. A service file and
            the PG* variables complete it, as in libpq.
        hosts: Addresses (`"db1"`, `"db2:5433"`, `"[::1]:5432"`, `"/run/postgresql"`) instead of
            hosts in the conninfo, the preferred one first. Or a function or coroutine function that
            returns them, if hosts come and go. It is called at `open()`, every `hosts_interval`,
            and every second while no host qualifies.
        hosts_interval: How often your callable for `hosts` is called.
        target: Which servers qualify, as in libpq's `target_session_attrs`: any, read-write,
            read-only, primary, standby, prefer-standby. Default: what the conninfo says, else
            primary for several hosts or a callable, and any for one.
        password: The password, or a function or coroutine function that returns it. Your callable
            is called for new connections, once a second at most, and again when the server rejects
            its password. It may take the `Host`. It may return a `Token`, which the manager keeps
            until shortly before it expires.
        connection_class: As in `AsyncConnectionPool`. You get a subclass of it. Its `connect()`
            makes every connection, the probes' too.
        kwargs: As in `AsyncConnectionPool`: parameters of libpq and of psycopg's `connect()`.
            `conninfo`, `kwargs` and the value of each libpq parameter may be callables.
        open: True to open in the constructor, which needs a running event loop.
        configure: A coroutine function that is called with each new connection, for
            `connect_timeout` at most. It must leave no transaction open.
        check: A coroutine function that tests a connection at each checkout, for `health_timeout`
            at most, and raises if it does not work. You need none: every checkout is tested, mostly
            without a round trip.
        reset: A coroutine function that is called with each connection that you return. Each query
            of it may take `cancel_timeout`, and all of it twice that.
        name: The manager's name in logs, events and metrics.
        min_size: How many connections the pool keeps; default 4, or `max_size` if that is less.
        max_size: The most connections that the pool makes; default `min_size`.
        max_overflow: How many more it makes while all of these are in use. Overflow connections
            close on return, unless a caller waits.
        timeout: How long a caller waits for a connection.
        max_waiting: How many callers may wait; 0 for no limit.
        max_lifetime: The maximum age of a connection, less up to 10 % at random. An older one is
            replaced when you return it.
        max_idle: How long a connection beyond `min_size` may be unused before it is closed. With 0,
            it closes on return, unless a caller waits.
        reconnect_timeout: How long no host may qualify before `reconnect_failed` is called. The
            search goes on; `max_time` ends it.
        reconnect_failed: A function or coroutine function that is called with the manager, after
            `reconnect_timeout` and when the manager gives up.
        num_workers: How many connections the pool makes at the same time.
        close_returns: Whether `close()` of a connection returns it to the pool instead.
        health_interval: The time between two probes of a host while all is well.
        health_timeout: How long nothing is heard of a host before a probe is a miss. After two
            misses in a row, the host is silent.
        keepalive_interval: How long a connection is idle before it is pinged.
        validate_after: A connection idle for longer is pinged before you get it. Otherwise its
            socket is tested, without a round trip.
        stall_timeout: How long to keep a silent host when no other qualifies.
        settle: How long to wait for slower hosts before choosing one.
        failback: "auto", or "manual" to go back only when you call `failback()`.
        failback_after: How long a preferred host must be stable before the manager goes back to it.
        cancel_timeout: How long the server may take to confirm a cancelled query, or to roll back a
            connection that you return or whose task is cancelled. Then the connection is cut.
        close_timeout: How long `close()` waits for connections in use.
        when_down: "wait" until `timeout`, or "fail" at once while no host qualifies.
        backoff_base: The first delay between attempts to reconnect. Delays double ...
        backoff_cap: ... up to this. Each is drawn at random between 0 and that value (full jitter).
        max_tries: How many attempts to make before giving up; None for no limit. See `reconnect()`.
        max_time: How long to search before giving up; None for no limit.
        held_warning: How long you may hold a connection before it is reported; None reports none.
        quiet_after: How long nobody uses the manager before it closes every connection and probes
            no host, until the next caller; None for never. For databases that sleep when unused.
        keep_keys: How long to keep the idempotency keys of `run()`.
        watch: Managers with the same `HostWatch` share the probes of their hosts. By default, those
            in one event loop share the hosts that they reach in the same way.
        on_event: A function or coroutine function that is called with each event.
        alerts: Apprise URLs, such as `"mailtos://user:password@smtp.example.com"`, that get a
            message about outages and failovers. Or an `Alerts`, for more settings.
        unknown: Not for use. A setting that does not exist raises `ConfigError`, which names the
            one that was probably meant.

    Raises:
        ConfigError: A setting is not usable, or does not exist. The text names it and the remedy.
    """

    def __init__(
        self,
        conninfo: ConninfoParam = "",
        *,
        hosts: HostsParam | None = None,
        hosts_interval: float = 30.0,
        target: Target | TargetName | None = None,
        password: PasswordParam | None = None,
        # As it is written, pyright too knows the type of what is lent if it is left out.
        connection_class: type[ACT] = AsyncConnection,  # type: ignore[assignment]
        kwargs: KwargsParam | None = None,
        open: bool | None = None,  # noqa: A002  psycopg_pool's name for it
        configure: Callable[[ACT], Awaitable[None]] | None = None,
        check: Callable[[ACT], Awaitable[None]] | None = None,
        reset: Callable[[ACT], Awaitable[None]] | None = None,
        name: str | None = None,
        min_size: int = MIN_SIZE,
        max_size: int | None = None,
        max_overflow: int = 0,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        reconnect_timeout: float = 300.0,
        reconnect_failed: Callable[[Any], Any] | None = None,
        num_workers: int = 3,
        close_returns: bool = False,
        health_interval: float = 1.0,
        health_timeout: float = 1.0,
        keepalive_interval: float = 30.0,
        validate_after: float = 1.0,
        stall_timeout: float = 15.0,
        settle: float = 0.2,
        failback: Failback = "auto",
        failback_after: float = 30.0,
        cancel_timeout: float = 1.0,
        close_timeout: float = 5.0,
        when_down: WhenDown = "wait",
        backoff_base: float = 0.05,
        backoff_cap: float = 1.0,
        max_tries: int | None = None,
        max_time: float | None = None,
        held_warning: float | None = 300.0,
        quiet_after: float | None = None,
        keep_keys: float = 86400.0,
        watch: HostWatch | None = None,
        on_event: Callable[[Event], Any] | None = None,
        alerts: Sequence[str] | Alerts | None = None,
        **unknown: Never,
    ) -> None:
        given = arguments_of(locals())
        make = functools.partial(
            make_settings,
            conninfo,
            hosts=hosts,
            hosts_interval=hosts_interval,
            kwargs=kwargs,
            password=password,
            target=target,
            name=name_or_number(name, _numbers),
            min_size=min_size,
            max_size=max_size,
            max_overflow=max_overflow,
            timeout=timeout,
            max_waiting=max_waiting,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
            reconnect_timeout=reconnect_timeout,
            num_workers=num_workers,
            close_returns=close_returns,
            health_interval=health_interval,
            health_timeout=health_timeout,
            keepalive_interval=keepalive_interval,
            validate_after=validate_after,
            stall_timeout=stall_timeout,
            settle=settle,
            failback=failback,
            failback_after=failback_after,
            cancel_timeout=cancel_timeout,
            close_timeout=close_timeout,
            when_down=when_down,
            backoff_base=backoff_base,
            backoff_cap=backoff_cap,
            max_tries=max_tries,
            max_time=max_time,
            held_warning=held_warning,
            quiet_after=quiet_after,
            keep_keys=keep_keys,
        )
        self._given = Hidden(make)
        channels = Hidden(alerts)
        # A traceback that shows variables would show those of this frame.
        names = tuple(unknown)
        del make, conninfo, hosts, kwargs, password, alerts, unknown
        refuse_unknown(names)
        self._made_at = calling_place()
        check_name(name)
        check_open(open)
        self._connection_class = class_of(connection_class)
        check_hooks(
            {
                "configure": configure,
                "check": check,
                "reset": reset,
                "reconnect_failed": reconnect_failed,
                "on_event": on_event,
            }
        )
        self._arguments = given
        self._settings = self._make_settings()
        self._watch = watch_for(watch, self._settings)
        self._configure = configure
        self._check = check
        self._reset = reset
        self._reconnect_failed = reconnect_failed
        self._listeners = Listeners(self._settings.name)
        self._instruments: list[Instrument] = []
        self._on_event = on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._forked = False
        self._alert_service: AlertService | None = None
        self._alerts = _alerts_of(channels)
        if open:
            self._open_at_once()

    def __repr__(self) -> str:
        if not hasattr(self, "_settings"):
            return "<ConnectionManager refused>"  # in a traceback that shows variables
        hosts = ",".join(host.label for host in self._settings.hosts)
        return f"<ConnectionManager {self.name!r} {self._state.value} [{hosts}]>"

    def _make_settings(
        self,
        asked: Hidden[tuple[str, dict[str, Any]]] | None = None,
        discovered: tuple[Host, ...] = (),
    ) -> Settings:
        try:
            own_connect = has_own_connect(self._connection_class)
            return self._given.reveal()(own_connect=own_connect, asked=asked, discovered=discovered)
        except ConfigError as error:
            # Drop the frames below: their variables hold the arguments.
            error.__context__ = None
            raise error.with_traceback(None) from None

    def for_database(self, dbname: str, **changes: Any) -> Self:
        """Return another manager, not open yet, for the database *dbname* of the same servers.

        It has a pool of its own and shares the probes. It has this manager's arguments, except for
        *changes*; its name is this one's with *dbname*. It sends no alerts unless you give
        `alerts`, since this manager sends them. Raises `ConfigError`, as the constructor does.
        """
        given = self._arguments
        return type(self)(
            **sibling_arguments(given, dbname, changes, name=self.name, watch=self._watch)
        )

    # -- life ----------------------------------------------------------------------------------

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Start to look for a host and to fill the pool. This succeeds if the database is down.

        With *wait*, wait up to *timeout* seconds until the pool holds `min_size` connections; else
        raise `NoHostAvailable` or `PoolExhausted`. The manager then stays open and usable.

        Raises `ManagerClosed` after `close()`: make a new manager. If the hosts come from callables
        of yours, raises what these raise, `NoHostAvailable` if they do not answer within
        `connect_timeout`, and `ConfigError` for what they return; you can then call `open()` again.
        """
        check_timeout(timeout, may_be_none=False)
        deadline = monotonic() + timeout
        if self._forked:
            self._usable()
        if self._runtime is None and not self._closed and not self._settings.hosts:
            await self._ask_for_hosts(timeout if wait else self._settings.connect_timeout)
        if self._closed:
            raise ManagerClosed(f"{self.name!r} was closed; make a new ConnectionManager")
        self._start()
        self._usable()
        if wait:
            await self.wait(max(deadline - monotonic(), 0.0))

    async def _ask_for_hosts(self, limit: float) -> None:
        callables, discovery = self._settings.callables, self._settings.discovery
        discovered: tuple[Host, ...] = ()
        try:
            async with asyncio.timeout(limit) as timer:
                asked = await callables.call()
                if discovery is not None:
                    discovered = await discovery.call()
        except TimeoutError:
            if not timer.expired():
                raise
            names = " or ".join(callables.names() + ["hosts"] * (discovery is not None))
            raise NoHostAvailable(
                f"no hosts of {self.name!r} are known yet: the callable for {names} returned"
                f" nothing within {limit:g} s"
            ) from None
        if self._runtime is None:  # else another task was faster
            self._settings = self._make_settings(asked, discovered)

    def _open_at_once(self) -> None:
        problem = "the hosts are not known before your callable is called"
        if self._settings.hosts:
            try:
                self._start()
            except RuntimeError:
                problem = "no event loop is running yet"
            else:
                return
        raise ConfigError("open", problem, "leave it out, and use 'async with' or await open()")

    def _start(self) -> None:
        if self._runtime is not None:
            return  # another task was faster
        self._loop = asyncio.get_running_loop()
        warn_of_weak_tls(self._settings, self._made_at)
        if self._on_event is not None:
            self._listeners.subscribe(self._on_event)
        if self._reconnect_failed is not None:
            self._listeners.subscribe(weakly(self._tell_reconnect_failed))
        if self._alerts is not None:
            from .alerting import watch  # noqa: PLC0415  it needs an extra

            self._alert_service = watch(self._alerts, self._settings, self._listeners)
        self._runtime = self._build()
        self._runtime.start()
        forking.register(self)

    async def _tell_reconnect_failed(self, event: Event) -> None:
        from pgmoor.events import GaveUp, ReconnectFailed  # noqa: PLC0415  as in `_build()`

        if isinstance(event, GaveUp | ReconnectFailed) and self._reconnect_failed is not None:
            await value_of(self._reconnect_failed, self)

    def _build(self) -> Runtime:
        # Imported when it is needed: `import pgmoor` is to cost what `import psycopg_pool` does.
        from pgmoor._core.pool.callbacks import Callbacks  # noqa: PLC0415

        from .runtime import Runtime  # noqa: PLC0415

        return Runtime(
            self._settings,
            self._listeners,
            Callbacks(
                connection_class=self._connection_class,
                configure=self._configure,
                check=self._check,
                reset=self._reset,
            ),
            watch=self._watch,
            instruments=self._instruments,
            # Background tasks must not keep a manager alive that nobody closes.
            unusable=weakly(self._why_unusable),
        )

    async def close(self, timeout: float | None = None) -> None:
        """Stop. Waiting callers get `ManagerClosed`; idle connections close at once.

        Connections in use have *timeout* seconds (default `close_timeout`) to come back. Then the
        manager cuts them. It cuts those of the calling task, and of tasks that wait for it, without
        waiting. It returns shortly after *timeout* at the latest.

        You may call it twice. If you cancel the call, closing goes on; if the program ends
        meanwhile, everything is cut at once. Raises `ManagerClosed` in another event loop than the
        one that opened the manager, which stays open.
        """
        check_timeout(timeout)
        runtime = self._runtime
        if runtime is None or self._forked:
            self._closed = True
            return
        unfinished = self._closing is None or not self._closing.done()
        if unfinished and self._loop is not asyncio.get_running_loop():
            raise self._in_another_loop()
        if self._closing is None:
            self._closed = True
            limit = self._settings.close_timeout if timeout is None else timeout
            work = self._close(runtime, limit, asyncio.current_task())
            self._closing = spawn(work, f"{self.name}-close")
            self._closing.add_done_callback(functools.partial(self._closing_ended, runtime))
        await wait_for_end(self._closing)

    async def _close(
        self, runtime: Runtime, limit: float, caller: asyncio.Task[Any] | None
    ) -> None:
        deadline = monotonic() + limit
        flushing = None
        if self._alert_service is not None:
            flushing = spawn(self._alert_service.aclose(limit), f"{self.name}-flush")
        runtime.queue.waiting.fail_all(lambda: ManagerClosed(f"{self.name!r} was closed"))
        try:
            await self._stop(runtime, deadline, caller, flushing)
        except asyncio.CancelledError:  # `asyncio.run()` cancels every task at its end
            runtime.cut()
            await self._stop(runtime, monotonic(), caller, flushing)

    async def _stop(
        self,
        runtime: Runtime,
        deadline: float,
        caller: asyncio.Task[Any] | None,
        flushing: asyncio.Task[None] | None,
    ) -> None:
        await runtime.stop(deadline, caller)
        await self._listeners.aclose(max(deadline - monotonic(), 0.1), caller)
        if flushing is not None:
            await wait_for_end(flushing)

    def _closing_ended(self, runtime: Runtime, closing: asyncio.Task[None]) -> None:
        if closing.cancelled():  # before it began, or twice
            runtime.cut()
        forking.unregister(self)
        logger.info("%r is closed", self.name, extra=fields("Closed", self.name))

    def __del__(self, _warn: Any = warnings.warn) -> None:  # kept for the interpreter's exit
        if getattr(self, "_runtime", None) is not None and not self._closed:
            message = f"{self!r} was dropped while it was open; use 'async with' or close()"
            _warn(message, ResourceWarning, source=self)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- connections ---------------------------------------------------------------------------

    def connection(self, timeout: float | None = None) -> Checkout[ACT]:
        """Return a context manager that lends you a working connection.

        The end of the block commits, or rolls back if the block raises, and returns the connection.
        *timeout* is how many seconds to wait for one (default: the manager's). Raises
        `PoolExhausted`, `NoHostAvailable`, `TooManyRequests`, `ManagerClosed`, and
        `CommitOutcomeUnknown` when the connection is lost during the commit.
        """
        if timeout is not None:
            check_timeout(timeout)
        return self._queue().checkout(timeout)

    async def getconn(self, timeout: float | None = None) -> ACT:
        """Take a connection; return it with `putconn()`. Prefer `connection()`.

        *timeout* and what it raises are as in `connection()`.
        """
        if timeout is not None:
            check_timeout(timeout)
        return await self._queue().acquire(timeout)  # type: ignore[return-value]  # as in `Checkout`

    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        """Return a connection from `getconn()`. An open transaction is rolled back, and logged.

        Raises `ValueError` if you returned it before, or if it is not this manager's.
        """
        owner = getattr(conn, "owner", None)
        if owner is None or owner.settings is not self._settings:
            raise ValueError(
                f"the connection is not from {self.name!r}; return it to the manager that lent it"
            )
        assert isinstance(conn, ManagedConnection)
        if conn.holder is None:
            raise ValueError(f"this connection was returned to {self.name!r} before")
        if self._runtime is None:
            self._usable()  # raises: this is a forked child
        else:
            await owner.putconn(conn)

    def as_pool(self) -> AsyncConnectionPool[ACT]:
        """Return the manager as an `AsyncConnectionPool`, for a library that checks for one.

        The manager does the pool's work and raises its own errors. Opening or closing the pool
        opens or closes the manager. A library may connect by itself, with the pool's `conninfo` and
        `connection_class`. The manager cuts that connection when it leaves the host, and doesn't
        count it against `max_size`.
        """
        from .as_pool import ManagerPool  # noqa: PLC0415  as in `_build()`

        return ManagerPool(self, lambda: self._settings, self._usable)

    # -- transactions --------------------------------------------------------------------------

    def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
    ) -> Block[ACT]:
        """Return a context manager that lends you a connection for one transaction.

        The modes are those of `run()`; None leaves a mode to the connection. The end of the block
        commits, or rolls back if the block raises. *timeout* limits the whole, in seconds. Without
        it, the block has no limit; the wait for a connection has the manager's `timeout`.

        If the answer to COMMIT is lost, the manager asks the server what happened: if it committed,
        the block ends without an error. Raises `CommitOutcomeUnknown` if it can't find out,
        `TransactionTimeout`, what `connection()` raises, and `RuntimeError` if this task is in a
        transaction of this manager already.
        """
        modes = Modes.of(isolation, readonly, deferrable)
        return self._usable().work.transaction(modes, timeout)

    async def run(
        self,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        isolation: Isolation | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
        retry: Retry | None = None,
        key: str | Literal[True] | None = None,
    ) -> T:
        """Carry out `fn(conn, *args)` as one transaction, once, and return what it returns.

        `run()` repeats the transaction after a serialization failure or a deadlock, when the
        connection is lost before COMMIT was sent, and when the host has become read-only. If the
        answer to COMMIT is lost, it first asks the server what happened. So *fn* may run several
        times: let it only work on its connection, and leave commit and rollback to `run()`.

        Args:
            fn: A coroutine function.
            *args: Its arguments after the connection.
            isolation: An `IsolationLevel` of psycopg, or its name, such as "serializable".
            readonly: Whether the transaction is READ ONLY.
            deferrable: Whether it is DEFERRABLE.
            timeout: The limit for waiting, work and repeats, in seconds (default: the manager's).
            retry: When to repeat; the default is `Retry()`.
            key: An idempotency key, such as a request's. The transaction then commits once, however
                many callers and processes use the key. True makes a key for this call, so that a
                lost COMMIT can be looked up even on another server. Needs `install()`.

        Returns what *fn* returns, and None if it raises psycopg's `Rollback`.

        Raises:
            AlreadyDone: A transaction with this key has committed in another call.
            CommitOutcomeUnknown: It may have been committed or not.
            NotInstalled: The table of keys is missing.
            TransactionTimeout: It did not end in time, and is rolled back.
            NoHostAvailable, PoolExhausted, TooManyRequests, ManagerClosed: As in `connection()`.
            ConfigError: An argument is not usable. ValueError: The key is not.
            TypeError: *fn* is no coroutine function.
            RuntimeError: This task is in a transaction of this manager already.
        """
        modes = Modes.of(isolation, readonly, deferrable)
        work = self._usable().work
        return await work.run(fn, args, modes=modes, timeout=timeout, retry=retry, key=key)

    def transactional(
        self,
        *,
        isolation: Isolation | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
        retry: Retry | None = None,
        key: Literal[True] | None = None,
    ) -> Callable[[Callable[Concatenate[Any, P], Awaitable[T]]], Callable[P, Awaitable[T]]]:
        """Return a decorator: you call the function without the connection, and `run()` adds it.

        Arguments and errors are those of `run()`; with `key=True` each call has a key of its own.
        The decorator raises `ConfigError` or `TypeError` for what can't be used.
        """
        modes = Modes.of(isolation, readonly, deferrable)
        check_arguments(timeout, retry)
        if key not in (None, True):
            what = f"{shown(key)} would be one key for all calls"
            raise ConfigError("key", what, "give True, or give run() a key for each call")

        def decorate(fn: Callable[Concatenate[Any, P], Awaitable[T]]) -> Callable[P, Awaitable[T]]:
            check_function(fn)

            @functools.wraps(fn)
            async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
                call = functools.partial(fn, **kwargs) if kwargs else fn
                work = self._usable().work
                return await work.run(
                    call, args, modes=modes, timeout=timeout, retry=retry, key=key
                )

            return wrapper

        return decorate

    def retrying(
        self,
        *,
        isolation: Isolation | None = None,
        readonly: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
        retry: Retry | None = None,
    ) -> Retrying[ACT]:
        """Return the attempts of one transaction, for `async for`, until one has committed.

        Like `run()`, for work that isn't a function of its own:

            async for attempt in manager.retrying():
                async with attempt as conn:
                    await conn.execute(...)

        An error in the block is swallowed if another attempt follows. An attempt whose block ends
        without an error is the last one, also with `return` or `break`: if its COMMIT fails, that
        error is raised. Put nothing after the block in the loop. Arguments and errors are those of
        `run()`.
        """
        modes = Modes.of(isolation, readonly, deferrable)
        return self._usable().work.retrying(modes, timeout, retry)

    async def install(self) -> None:
        """Create the table of idempotency keys, `pgmoor.transactions`, if it is missing.

        Raises psycopg's `InsufficientPrivilege` unless the role owns the schema `pgmoor` or may
        create it. `pgmoor install --sql` prints the statements.
        """
        await self._usable().work.install()

    async def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when you return them."""
        pool = self._usable().queue.pool
        if pool is not None:
            pool.drain()

    async def check(self) -> None:
        """Ping every idle connection, one at a time, and replace broken ones."""
        pool = self._usable().queue.pool
        if pool is not None:
            await check_idle(pool)

    async def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the limits of the pool; raise `ConfigError` for impossible sizes.

        Without *max_size* it is *min_size*, as in the constructor.
        """
        settings = self._settings
        sizes = Sizes.of(min_size, max_size, settings.max_overflow, settings.max_idle)
        self._usable().resize(sizes)

    @staticmethod
    async def check_connection(conn: AsyncConnection[Any]) -> None:
        """Make one round trip; raise psycopg's error if the connection doesn't work.

        For use as `check`, as in `AsyncConnectionPool`. You need none: every checkout is tested.
        """
        await AsyncConnectionPool.check_connection(conn)

    # -- waiting and asking --------------------------------------------------------------------

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until the pool holds `min_size` connections.

        Raises `NoHostAvailable` or `PoolExhausted` after *timeout* seconds; at once with
        `when_down="fail"` during an outage, and after the manager has given up. Unlike
        `AsyncConnectionPool.wait()` it leaves the manager open.
        """
        await self._wait_until(self._usable().queue.filled, timeout)

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until a host is in use; raise `NoHostAvailable` as `wait()` does."""
        phase = self._usable().live.phase
        await self._wait_until(lambda: phase.serving, timeout)

    async def _wait_until(self, condition: Callable[[], bool], timeout: float) -> None:
        check_timeout(timeout)
        runtime = self._usable()
        availability = runtime.live.availability
        refused: Exception | None = None

        def decided() -> bool:
            nonlocal refused
            refused = self._why_unusable() or availability.refusal()
            runtime.live.phase.want()
            return refused is not None or condition()

        with anyio.move_on_after(timeout):
            await runtime.live.evidence.notifier.until(decided)
        if refused is not None:
            raise refused
        if condition():
            return
        if runtime.live.phase.serving and self._runtime is not None:
            figures = runtime.queue.figures()
            reason = availability.why_no_more(figures)
            raise PoolExhausted(
                timeout, figures, manager=self.name, reason=reason, wanted=figures.min_size
            )
        raise availability.error(f"{self.name!r} is not ready within {timeout:.2f} s")

    async def health(self, *, fresh: bool = False, timeout: float | None = None) -> Health:
        """Return the manager's condition, from memory.

        With *fresh*, probe every host first, for *timeout* seconds at most (default
        `health_timeout`).
        """
        check_timeout(timeout)
        runtime = self._runtime
        if fresh and runtime is not None and not self._closed:
            self._usable()
            limit = self._settings.health_timeout if timeout is None else timeout
            await runtime.probing.probe_all(limit)
        return self.snapshot()

    def snapshot(self) -> Health:
        """Return what `health()` returns, without awaiting. You may call it in any thread."""
        runtime = self._runtime
        return unopened(self._settings, self._state) if runtime is None else runtime.health()

    def get_stats(self) -> dict[str, int]:
        """Return figures and counters under the names that `AsyncConnectionPool` uses."""
        return self._figures() if self._runtime is None else self._runtime.stats()

    def pop_stats(self) -> dict[str, int]:
        """Return what `get_stats()` returns, and reset the counters."""
        return self._figures() if self._runtime is None else self._runtime.stats(reset=True)

    def _figures(self) -> dict[str, int]:
        sizes = {"pool_min": self.min_size, "pool_max": self.max_size}
        return {**sizes, "pool_size": 0, "pool_available": 0, "requests_waiting": 0}

    def reconnect(self, *, forget_timelines: bool = False) -> None:
        """Search again after the manager has given up (`max_tries`, `max_time`).

        *forget_timelines* lets the manager use an older primary again. Use it if the promotion of
        the newer one was undone, or the newer one is gone for good: what was committed only there
        is lost. Timelines that no host is on now are forgotten; a host that returns on one of them
        is primary again.
        """
        self._usable().controller.restart(forget_timelines=forget_timelines)

    def failback(self) -> None:
        """Go back to a preferred host that qualifies, without waiting `failback_after`."""
        self._usable().controller.failback()

    # -- events --------------------------------------------------------------------------------

    def events(self) -> EventStream:
        """Return an async iterator over the events from now until the manager closes.

        One that is 1,000 events behind loses the oldest.
        """
        return self._listeners.stream()

    def subscribe(self, callback: Callable[[Event], Any]) -> Callable[[], None]:
        """Call *callback*, a function or a coroutine function, with each event from now on.

        Each callback has its own queue and task; its errors are logged. One that is 1,000 events
        behind loses the oldest. A plain function runs in the event loop and must not block. Returns
        a function that ends the subscription. Raises `ConfigError` for what can't be called so.
        """
        check_callback(callback)
        return self._listeners.subscribe(callback)

    def instrument(self, instrument: Instrument) -> Callable[[], None]:
        """Call *instrument* from now on; return a function that stops it.

        If it raises, the error is logged, and it isn't called again. Raises `TypeError` for what is
        no `Instrument`.
        """
        if not isinstance(instrument, Instrument):
            raise TypeError(f"instrument() needs an Instrument, not {shown(instrument)}")
        failed = weakly(self._instrument_failed)
        guarded = Guarded(instrument, lambda method, error: failed(guarded, method, error))
        self._instruments.append(guarded)
        return functools.partial(self._end_instrument, guarded)

    def _instrument_failed(self, guarded: Guarded, method: str, error: Exception) -> None:
        kind = type(guarded.instrument).__name__
        extra = fields("InstrumentFailed", self.name, instrument=kind, method=method)
        logger.error(
            "an instrument raised in %s and is not called again: %s",
            method,
            kind,
            extra=extra,
            exc_info=error,
        )
        self._end_instrument(guarded)

    def _end_instrument(self, guarded: Guarded) -> None:
        guarded.mute()
        # Not in the middle of a pass over the list: the next one would miss its call.
        if self._loop is None or self._loop.is_closed():
            self._remove_instrument(guarded)
        else:
            self._loop.call_soon_threadsafe(self._remove_instrument, guarded)

    def _remove_instrument(self, guarded: Guarded) -> None:
        if guarded in self._instruments:
            self._instruments.remove(guarded)

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The manager's name in logs, events and metrics."""
        return self._settings.name

    @property
    def closed(self) -> bool:
        """Whether the manager is closed, or not open yet."""
        return self._closed or self._runtime is None

    @property
    def min_size(self) -> int:
        """How many connections the pool keeps."""
        return self._sizes.min_size

    @property
    def max_size(self) -> int:
        """The most connections that the pool makes."""
        return self._sizes.max_size

    @property
    def timeout(self) -> float:
        """How long `connection()` waits by default, in seconds."""
        return self._settings.timeout

    @property
    def max_waiting(self) -> int:
        """How many callers may wait; 0 for no limit."""
        return self._settings.max_waiting

    @property
    def max_lifetime(self) -> float:
        """The maximum age of a connection, in seconds."""
        return self._settings.max_lifetime

    @property
    def max_idle(self) -> float:
        """How many seconds a connection beyond `min_size` may be unused."""
        return self._settings.max_idle

    @property
    def reconnect_timeout(self) -> float:
        """How many seconds no host may qualify before `reconnect_failed` is called."""
        return self._settings.reconnect_timeout

    @property
    def close_returns(self) -> bool:
        """Whether `close()` of a connection returns it to the pool instead."""
        return self._settings.close_returns

    @property
    def connection_class(self) -> type[ACT]:
        """The class that your connections derive from."""
        return cast("type[ACT]", self._connection_class)

    @property
    def num_workers(self) -> int:
        """How many connections the pool makes at the same time."""
        return self._settings.num_workers

    # -- inside --------------------------------------------------------------------------------

    @property
    def _sizes(self) -> Sizes:
        return self._settings.sizes if self._runtime is None else self._runtime.ledger.sizes

    @property
    def _state(self) -> State:
        if self._runtime is not None:
            return self._runtime.live.phase.state
        return State.CLOSED if self._closed else State.NEW

    def _queue(self) -> CheckoutQueue:
        """Return the queue that lends connections; it checks the event loop itself."""
        runtime = self._runtime
        return self._usable().queue if runtime is None or self._closed else runtime.queue

    def _usable(self) -> Runtime:
        """Return the runtime; raise `ManagerClosed` when it can't be used here."""
        if (error := self._why_unusable()) is not None:
            raise error
        assert self._runtime is not None
        return self._runtime

    def _why_unusable(self) -> ManagerClosed | None:
        if self._forked:
            return ManagerClosed(
                f"{self.name!r} was opened before a fork; make and open one in each process"
            )
        if self._closed:
            return ManagerClosed(f"{self.name!r} is closed")
        if self._runtime is None:
            return ManagerClosed(f"{self.name!r} is not open yet; use 'async with' or open()")
        if self._loop is not asyncio.get_running_loop():
            return self._in_another_loop()
        return None

    def _in_another_loop(self) -> ManagerClosed:
        ended = self._loop is not None and self._loop.is_closed()
        which = "an event loop that has ended" if ended else "another event loop"
        return ManagerClosed(
            f"{self.name!r} was opened in {which}; open, use and close a manager in one event loop"
        )

    def _disown(self) -> None:
        """Forget the loop and the sockets, in a forked child: they belong to its parent.

        Nothing is closed. psycopg leaves connections alone that another process made.
        """
        self._forked = True
        if self._runtime is not None:
            self._runtime.queue.pool = None
            self._runtime = None


def _alerts_of(given: Hidden[Sequence[str] | Alerts | None]) -> Alerts | None:
    if given.reveal() is None:
        return None
    from .alerting import make_alerts  # noqa: PLC0415  it needs an extra

    return make_alerts(given)
