"""Whatever is given, the constructor makes working settings or raises `ConfigError`.

With `--thorough` each test tries more examples.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import inspect
import math
import os
import sys
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import AsyncConnection, errors, pq
from psycopg.conninfo import make_conninfo

from canary import CANARY, traces
from pgmoor import ConfigError, ConnectionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor._core.settings.settings import Settings

fuzz = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


# -- what is given ------------------------------------------------------------------------------


class Unfriendly:
    """An object that refuses every operation."""

    def _refuse(self, *_: object) -> Any:
        raise ArithmeticError(CANARY)

    __bool__ = __call__ = __contains__ = __eq__ = __float__ = __format__ = __fspath__ = _refuse
    __getattr__ = __getitem__ = __index__ = __int__ = __iter__ = __len__ = __lt__ = _refuse
    __repr__ = __str__ = _refuse
    __hash__ = object.__hash__


class Text(str):
    """A string whose `str()` fails."""

    __slots__ = ()

    def __str__(self) -> str:
        raise ArithmeticError(CANARY)


PARAMETERS = [item.keyword.decode() for item in pq.Conninfo.get_defaults()]
CONNECT = ["autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"]
WORDS = [
    *("any", "read-write", "primary", "wait", "fail", "auto", "manual", "require", "verify-full"),
    *("on", "off", "true", "5432", "0", "-1", "1e9", "db1", "db1,db2", "::1", "[::1]:5432"),
    *("/run/postgresql", "@abstract", "10.0.0.1", "system", "disable", "prefer", "\0", "\ud800"),
    *(CANARY, quote(CANARY, ""), f"app:{CANARY}@db1", "\x1b[31m", "é" * 300, "a." * 200, " ", ""),
]
texts = st.sampled_from(WORDS) | st.text(max_size=40) | st.text(st.characters(), max_size=8)
odd_characters = st.text(st.sampled_from("@:/?#%,[]= \\'\"&+;.ab19\x00é\n\ud800"), max_size=14)
plain_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, 10**400, -(10**400), sys.maxsize]),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -0.0, 5e-324, 1e308]),
    texts,
    odd_characters,
    st.binary(max_size=8),
    st.just(CANARY.encode()),
    st.builds(object),
    st.builds(Unfriendly),
    texts.map(Text),
    st.sampled_from(
        [
            decimal.Decimal(5),
            dt.timedelta(seconds=5),
            PurePosixPath("/run/postgresql"),
            int,
            AsyncConnection,
            ConnectionManager,
            asyncio.sleep,
            len,
            ...,
        ]
    ),
)
keywords = st.dictionaries(
    st.sampled_from([*PARAMETERS, *CONNECT, "nonsense", CANARY, ""]) | texts,
    plain_values | st.dictionaries(texts, texts, max_size=2),
    max_size=4,
)
anything = st.one_of(
    plain_values,
    st.lists(plain_values, max_size=3),
    st.tuples(plain_values),
    st.frozensets(texts, max_size=2),
    keywords,
)
ARGUMENTS = [name for name in inspect.signature(ConnectionManager).parameters if name != "alerts"]


# -- what comes of it ---------------------------------------------------------------------------


def attempt(conninfo: Any = "host=db1", **values: Any) -> Settings | None:
    """Return settings that work, or None when a correct `ConfigError` was raised."""
    try:
        manager = ConnectionManager(conninfo, **values)
    except ConfigError as error:
        check_refusal(error)
        return None
    check_working(manager)
    return manager._settings


def check_refusal(error: ConfigError) -> None:
    """Check that the error says what to do, in fixed words that quote no value."""
    known = {*inspect.signature(ConnectionManager).parameters, *PARAMETERS, "service"}
    assert error.setting in known or error.setting.startswith("PG")
    for text in (error.setting, error.problem, error.remedy):
        assert text
        assert text.isprintable()
        assert len(text) < 300
    assert traces(str(error), repr(error)) == []


def check_working(manager: ConnectionManager) -> None:
    """Check that libpq accepts the parameters for each host."""
    found = manager._settings
    assert repr(manager).isprintable()
    assert manager.snapshot().state == "new"
    assert found.hosts or found.callables.whole
    for host in found.hosts[:3]:
        params = found.params_of(host)
        here = {"host": "/nowhere", "hostaddr": "", "port": 1}
        conninfo = make_conninfo("", **{**params, **here})
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        assert "/nowhere" in pgconn.get_error_message()
        pgconn.finish()


# -- each argument ------------------------------------------------------------------------------


@hypothesis_settings(fuzz, max_examples=fuzz.max_examples * len(ARGUMENTS) // 8)
@given(st.sampled_from(ARGUMENTS), anything)
def test_any_value_of_any_argument_is_accepted_or_refused(name: str, value: Any) -> None:
    attempt(**{name: value})


@fuzz
@given(st.dictionaries(st.sampled_from(ARGUMENTS), anything, max_size=6))
def test_any_arguments_together_are_accepted_or_refused(values: dict[str, Any]) -> None:
    attempt(**values)


@fuzz
@given(keywords)
@example({"host": "db1", "hostaddr": "10.0.0.1,", "port": ","})
def test_any_keywords_are_accepted_or_refused(kwargs: dict[str, Any]) -> None:
    attempt("", kwargs=kwargs)


@fuzz
@given(st.lists(texts | odd_characters | plain_values, max_size=4))
def test_any_list_of_hosts_is_accepted_or_refused(hosts: list[Any]) -> None:
    attempt("", hosts=hosts)


@fuzz
@given(
    st.dictionaries(
        st.sampled_from(
            [item.envvar.decode() for item in pq.Conninfo.get_defaults() if item.envvar]
        )
        | st.sampled_from(["PGSERVICEFILE", "PGSYSCONFDIR", "HOME"]),
        st.one_of(texts, odd_characters),
        max_size=4,
    )
)
def test_any_environment_is_accepted_or_refused(variables: dict[str, str]) -> None:
    with environment(variables):
        attempt("")


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables, as far as the system can keep these values."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            kept = value.replace("\0", "").encode(errors="surrogatepass")
            patch.setenv(name, os.fsdecode(kept))
        yield


@fuzz
@given(st.lists(texts | odd_characters, max_size=6), st.binary(max_size=30))
def test_any_service_file_is_accepted_or_refused(
    tmp_path: Path, lines: list[str], noise: bytes
) -> None:
    path = tmp_path / "services.conf"
    body = "\n".join(["[orders]", *lines]).encode(errors="surrogatepass")
    path.write_bytes(body + b"\n" + noise)

    attempt("service=orders", kwargs={"servicefile": str(path)})


# -- texts that are nearly a conninfo -----------------------------------------------------------

values_of = st.one_of(texts, odd_characters).map(lambda text: text.replace("\0", ""))
uri_parts = st.tuples(
    st.sampled_from(
        ["postgresql://", "postgres://", "postgresql:/", "POSTGRESQL://", "http://", ""]
    ),
    values_of,
    st.sampled_from([":", "", "::", "%3A"]),
    st.one_of(values_of, st.just(CANARY), st.just(quote(CANARY, ""))),
    st.sampled_from(["@", "", "@@", "%40"]),
    st.one_of(values_of, st.sampled_from(["db1", "db1,db2:5433", "[::1]", ":5432", ""])),
    st.one_of(values_of, st.sampled_from(["/orders", "/", ""])),
    st.one_of(values_of, st.sampled_from(["?sslmode=require", "?password=x&user=y", "?", ""])),
)


@fuzz
@given(uri_parts.map("".join))
@example(f"postgresql://app:{CANARY}@db1/orders")
@example(f"postgresql://app:1/{CANARY}")
@example("postgresql://" + "[" * 50)
def test_any_text_like_a_uri_is_accepted_or_refused(uri: str) -> None:
    attempt(uri)


conninfos = st.lists(
    st.tuples(
        st.sampled_from([*PARAMETERS, "nonsense", ""]) | values_of,
        st.sampled_from(["=", " = ", "", "==", "\n=\t"]),
        st.sampled_from(["'", "", '"']),
        values_of,
        st.sampled_from(["'", "", "\\"]),
    ).map("".join),
    max_size=5,
).map(" ".join)


@fuzz
@given(conninfos | st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_and_any_that_is_like_a_conninfo_is_accepted_or_refused(conninfo: str) -> None:
    attempt(conninfo)


@fuzz
@given(
    uri_parts, st.integers(0, 200), st.sampled_from(["@", "/", "%", ":", "?", "#", "\0", "\x1b"])
)
def test_a_password_in_a_uri_that_was_damaged_is_not_shown(
    parts: tuple[str, ...], place: int, letter: str
) -> None:
    uri = f"postgresql://app:{quote(CANARY, '')}@{parts[5]}{parts[6]}{parts[7]}"
    damaged = uri[:place] + letter + uri[place + 1 :]

    for text in (damaged, uri[:place] + uri[place + 1 :], uri[:place] + letter + uri[place:]):
        try:
            manager = ConnectionManager(text)
        except ConfigError as error:
            check_refusal(error)
        else:
            assume("%" not in repr(manager))
            assert traces(repr(manager), repr(manager.snapshot())) == []


PLAIN = "c4n4ry-v4lue"  # libpq reads it as it is


@fuzz
@example("a@", "/b", "/orders")
@example("@", ",", "/orders")
@example("@", "?\0", "/orders")
@example("1/", "", "/orders")
@given(
    odd_characters,
    odd_characters,
    st.sampled_from(["/orders", "", "/orders?sslmode=require", ",db2/orders"]),
)
def test_a_password_that_is_not_percent_encoded_in_a_uri_or_quoted_in_a_conninfo_is_not_shown(
    before: str, after: str, rest: str
) -> None:
    quoted = f"{before}{PLAIN}{after}".replace("\\", r"\\").replace("'", r"\'")
    for conninfo in (
        f"postgresql://app:{before}{PLAIN}{after}@db1{rest}",
        f"host=db1 password='{quoted}' user=app",
        f"host=db1 password='{quoted}' pasword=app",
    ):
        try:
            manager = ConnectionManager(conninfo)
        except ConfigError as error:
            check_refusal(error)
            shown: list[object] = [error, error.setting, error.problem, error.remedy]
        else:
            found = manager._settings
            shown = [manager, found, vars(found), found.rules, manager.snapshot(), *found.hosts]
        assert PLAIN not in "".join(f"{thing!r} {thing}" for thing in shown)


# -- agreement with libpq -----------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
host_lists = st.lists(
    st.sampled_from(["db1", "db2.example", "10.0.0.1", "db-3", "/run/pg", "localhost"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@fuzz
@given(names, names, names, host_lists, st.integers(1, 65535))
def test_a_conninfo_means_what_it_means_to_libpq(
    user: str, password: str, dbname: str, hosts: list[str], port: int
) -> None:
    conninfo = make_conninfo(
        "", user=user, password=password, dbname=dbname, host=",".join(hosts), port=port
    )

    found = attempt(conninfo)

    assert found is not None
    assert [(host.host, host.port) for host in found.hosts] == [(name, port) for name in hosts]
    for name, value in {"user": user, "password": password, "dbname": dbname}.items():
        assert found.params_of(found.hosts[0])[name] == value


@fuzz
@given(names, names, names, host_lists, st.sampled_from(["", ":5432", ":1"]))
def test_a_uri_means_what_it_means_to_libpq(
    user: str, password: str, dbname: str, hosts: list[str], port: str
) -> None:
    listed = ",".join(quote(host, "") + port for host in hosts)
    login = f"{quote(user, '')}:{quote(password, '')}@"
    uri = f"postgresql://{login}{listed}/{quote(dbname, '')}?connect_timeout=3"

    found = attempt(uri)

    assert found is not None
    theirs = parsed(uri)
    for name in ("user", "password", "dbname"):
        assert found.params_of(found.hosts[0]).get(name) == theirs.get(name)
    assert [host.host for host in found.hosts] == theirs["host"].split(",")
    assert (theirs.get("user", ""), theirs.get("dbname", "")) == (user, dbname)


OURS = {
    *("host", "hostaddr", "port", "service", "servicefile"),
    *("target_session_attrs", "connect_timeout", "load_balance_hosts"),
}


@fuzz
@given(uri_parts.map("".join) | names | st.lists(names).map("=".join) | conninfos)
@example("postgresql://app@db1/orders?service=&sslmode=require")
def test_a_text_is_read_as_libpq_reads_it_or_refused_for_more_than_its_syntax(
    text: str,
) -> None:
    try:
        theirs = parsed(text)
    except (errors.Error, UnicodeError):
        assert attempt(text) is None
        return
    refused = None
    try:
        found = ConnectionManager(text)._settings
    except ConfigError as error:
        refused = error.setting
    if refused is not None:
        assert refused != "conninfo" or "@" in text
        return
    params = found.params_of(found.hosts[0])
    theirs = {name: value for name, value in theirs.items() if name not in OURS}
    assert {name: params[name] for name in theirs} == theirs


def parsed(conninfo: str) -> dict[str, str]:
    """Return what libpq makes of a conninfo."""
    assume("\0" not in conninfo)
    found = pq.Conninfo.parse(conninfo.encode())
    return {item.keyword.decode(): item.val.decode() for item in found if item.val is not None}
