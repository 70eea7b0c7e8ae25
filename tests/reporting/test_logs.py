"""The log: its fields under real faults, its page, how much it says, and what it never says."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import log_calls
from pgmoor import ConnectionManager, NoHostAvailable, events
from pgmoor._core.reporting.listeners import Listeners
from pgmoor._core.reporting.log_fields import fields, fields_of
from pgmoor.events import (
    Connected,
    Event,
    Failover,
    HeldTooLong,
    OutageEnded,
    OutageStarted,
    SplitBrain,
)
from pgmoor.testing import Cluster
from support import Recorder, Workload, recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
CANARY = "hunter2-canary"
KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and kind is not Event]
KINDS = [kind for kind in KINDS if issubclass(kind, Event)]
# What a record has by itself, and what programs like to add to it.
TAKEN = {*vars(logging.makeLogRecord({})), "message", "asctime"}
LIKED = ("host", "event", "manager", "reason", "seconds", "task", "role", "status", "level")


class Ear(logging.Handler):
    """Keeps all records, and what formatters make of them."""

    def __init__(self, *formatters: logging.Formatter) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lines: list[list[str]] = [[] for _ in formatters]
        self._formatters = formatters

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        for formatter, lines in zip(self._formatters, self.lines, strict=True):
            lines.append(formatter.format(record))

    def ours(self) -> list[logging.LogRecord]:
        return [record for record in self.records if record.name.startswith("pgmoor")]

    def told(self, event: str) -> dict[str, object]:
        """Return the fields of the first line about an event."""
        told = map(log_calls.extras, self.records)
        return next(extra for extra in told if extra.get("event") == event)


@contextmanager
def listening(*formatters: logging.Formatter, level: int = logging.DEBUG) -> Iterator[Ear]:
    """Hear everything that is logged anywhere, from *level* on."""
    ear, root = Ear(*formatters), logging.getLogger()
    before = root.level
    root.addHandler(ear)
    root.setLevel(level)
    try:
        yield ear
    finally:
        root.removeHandler(ear)
        root.setLevel(before)


class JsonFormatter(logging.Formatter):
    """What a program of its own would write: all that logging itself does not put there."""

    def format(self, record: logging.LogRecord) -> str:
        added = {key: value for key, value in vars(record).items() if key not in TAKEN}
        return json.dumps({"message": record.getMessage(), "level": record.levelname, **added})


def structlog_formatter() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


def not_as_documented(records: list[logging.LogRecord]) -> list[str]:
    """Return the records that docs/logs.md does not list as they are."""
    page = {(line.logger, line.level, line.message): line for line in log_calls.on_the_page()}
    wrong = []
    for record in records:
        extra = log_calls.extras(record)
        line = page.get((record.name, record.levelname, log_calls.template(str(record.msg))))
        names = set(extra) - {"event", "manager"}
        if line is None or extra.get("event") != line.event or not names <= line.fields:
            wrong.append(f"{record.name} {record.levelname} {record.msg}: {extra}")
    return wrong


# -- the page -----------------------------------------------------------------------------------


def test_the_page_lists_what_the_sources_can_log_and_no_more() -> None:
    page, sources = log_calls.on_the_page(), log_calls.in_the_sources()

    assert set(sources) - set(page) == set()
    assert set(page) - set(sources) == set()
    assert [line for line, times in Counter(page).items() if times > 1] == []
    assert len(sources) > 30  # it has read them


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ('logger.info("x")', "no extra"),
        ('logger.info(words, extra=fields("X"))', "the message is not a constant"),
        ('logger.info("x", extra=fields(kind))', "no event"),
        ('logger.info("x", extra={"host": "db1"})', "neither a call nor a name"),
    ],
)
def test_a_call_without_fields_is_found(call: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(f'logger = logging.getLogger("pgmoor.x")\n\n\ndef f() -> None:\n    {call}\n')

    with pytest.raises(AssertionError, match=why):
        log_calls._Module(file).lines()


def test_a_call_is_read_as_it_is(tmp_path: Path) -> None:
    code = """\
        logger = logging.getLogger("pgmoor.x")

        class Pool:
            def tell(self, failing):
                level = logging.DEBUG if failing else logging.WARNING
                event = HostDown(host="db1", status="down", reason="gone")
                logger.log(level, "%s is %r\\nfor %.2f s", 1, 2, 3, extra=self._fields(event))

            def _fields(self, event):
                return fields_of(event, self._manager)

            def close(self):
                extra = fields("Closed", self._manager, seconds=1.0)
                logger.exception("closed", extra=extra)
        """
    file = tmp_path / "module.py"
    file.write_text(textwrap.dedent(code))

    down = frozenset({"host", "status", "reason"})
    assert set(log_calls._Module(file).lines()) == {
        log_calls.Line("pgmoor.x", "DEBUG", "… is …", "HostDown", down),
        log_calls.Line("pgmoor.x", "WARNING", "… is …", "HostDown", down),
        log_calls.Line("pgmoor.x", "ERROR", "closed", "Closed", frozenset({"seconds"})),
    }


# -- fields -------------------------------------------------------------------------------------


def test_fields_are_named_so_that_they_are_in_nobodys_way() -> None:
    extra = fields("Failover", "orders", before="db1", after=None, reason="", seconds=0.0)

    assert extra == {
        "pgmoor_event": "Failover",
        "pgmoor_manager": "orders",
        "pgmoor_before": "db1",
        "pgmoor_seconds": 0.0,
    }


values = st.none() | st.text() | st.floats() | st.integers()


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*sorted(TAKEN), *LIKED]), values))
def test_no_name_of_a_field_makes_a_record_raise(extra: dict[str, Any]) -> None:
    given = {key: value for key, value in extra.items() if key not in ("event", "manager")}

    record = logging.getLogger("pgmoor").makeRecord(
        "pgmoor", logging.INFO, "", 0, "message", (), None, extra=fields("X", "m", **given)
    )

    assert record.getMessage() == "message"
    assert json.dumps(log_calls.extras(record))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_line_of_an_event_has_the_events_fields(kind: type[Event]) -> None:
    sample: dict[str, Any] = {"str": "x", "float": 0.5, "int": 3, "tuple[str,": ("x", "y")}
    names = {item for item in kind.__dataclass_fields__ if item not in ("manager", "at")}
    types = {name: str(kind.__dataclass_fields__[name].type) for name in names}
    event = kind(**{name: sample[types[name].partition(" ")[0]] for name in names})

    extra = fields_of(event, "orders")

    assert set(extra) == {"pgmoor_event", "pgmoor_manager", *(f"pgmoor_{name}" for name in names)}
    assert extra["pgmoor_event"] == kind.__name__
    assert json.loads(json.dumps(extra)) == extra


# -- under real faults --------------------------------------------------------------------------


async def test_a_failover_in_json_and_in_structlog(pair: Cluster, moor: Callable[..., Any]) -> None:
    names = [f"127.0.0.1:{node.port}" for node in pair]
    with listening(JsonFormatter(), structlog_formatter()) as ear:
        manager = await moor(*pair, name="orders", kwargs={"password": CANARY})
        async with Workload(manager) as work:
            await pair[0].freeze()
            await pair[1].promote()
            failover = await recorder(manager).wait_for(Failover)
            await work.flowing(monotonic())
            await pair[0].thaw()
            await recorder(manager).wait_for(SplitBrain)
        await manager.close()

    expected = {
        "event": "Failover",
        "manager": "orders",
        "before": names[0],
        "after": names[1],
        "reason": failover.reason,
        "seconds": failover.seconds,
    }
    assert ear.told("Failover") == expected
    prefixed = {f"pgmoor_{key}": value for key, value in expected.items()}
    plain, structured = ([json.loads(line) for line in lines] for lines in ear.lines)
    for lines in (plain, structured):
        assert (
            prefixed.items()
            <= next(line for line in lines if line.get("pgmoor_event") == "Failover").items()
        )
    (message,) = {line["event"] for line in structured if line.get("pgmoor_event") == "SplitBrain"}
    assert message.startswith("split brain: ")  # structlog's own key is not overwritten
    assert ear.told("SplitBrain")["timeline"] == 1
    assert ear.told("Closed") == {"event": "Closed", "manager": "orders"}
    assert not_as_documented(ear.ours()) == []
    assert CANARY not in "".join(line for lines in ear.lines for line in lines)


async def test_an_outage_of_five_seconds_is_a_few_lines(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo())
    seen = Recorder(manager)
    with listening(level=logging.INFO) as ear:
        async with manager, Workload(manager) as work:
            await manager.wait()
            ear.records.clear()
            await alone[0].kill()
            await seen.wait_for(OutageStarted)
            await asyncio.sleep(5)  # it is the fault that takes its time
            await alone[0].start()
            await seen.wait_for(OutageEnded)
            await work.flowing(monotonic())
            said = list(ear.records)

    lines = [f"{record.name} {record.getMessage()}" for record in said]
    told = [log_calls.extras(record).get("event") for record in said]
    assert len(lines) <= 10, lines  # 16 callers waited, and the search made a dozen attempts
    assert {"HostDown", "Leaving", "OutageStarted", "HostUp", "OutageEnded"} <= set(told)
    assert told.count("OutageStarted") == told.count("OutageEnded") == 1


async def test_who_holds_a_connection_is_a_field(alone: Cluster, moor: Callable[..., Any]) -> None:
    with listening(JsonFormatter()) as ear:
        manager = await moor(*alone, name="orders", held_warning=0.05)
        conn = await manager.getconn()
        await recorder(manager).wait_for(HeldTooLong)
        await manager.putconn(conn)

    told = ear.told("HeldTooLong")
    assert (told["manager"], told["task"]) == ("orders", asyncio.current_task().get_name())  # type: ignore[union-attr]
    assert "test_who_holds_a_connection_is_a_field" in str(told["stack"])
    assert 0.05 < float(str(told["seconds"])) < 5
    assert not_as_documented(ear.ours()) == []


async def test_a_listener_that_fails_is_named_with_its_manager() -> None:
    listeners, called = Listeners("orders"), asyncio.Event()

    def fail(_: Event) -> None:
        called.set()
        raise ValueError("the listener's own mistake")

    with listening() as ear:
        listeners.subscribe(fail)
        listeners.emit(Connected(host="db1", seconds=0.5))
        await called.wait()
        await listeners.aclose(1)

    assert ear.told("ListenerFailed") == {
        "event": "ListenerFailed",
        "manager": "orders",
        "on": "Connected",
    }
    assert not_as_documented(ear.ours()) == []


async def test_a_query_that_is_cancelled_is_told_with_its_host(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    with listening() as ear:
        manager = await moor(*alone, name="orders")
        async with manager.connection() as conn:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await conn.execute("select pg_sleep(10)")

    assert ear.told("QueryCancelled") == {
        "event": "QueryCancelled",
        "manager": "orders",
        "host": f"127.0.0.1:{alone[0].port}",
        "reason": "QueryCanceled",
    }
    assert not_as_documented(ear.ours()) == []


async def test_a_rejected_password_is_in_no_line() -> None:
    async with Cluster(standbys=0, auth="scram-sha-256") as locked:
        await locked[0].sql("create role app login password 'right'")
        conninfo = f"host={locked[0].host} port={locked[0].port} user=app dbname=postgres"
        with listening(JsonFormatter(), structlog_formatter()) as ear:
            async with ConnectionManager(conninfo, kwargs={"password": CANARY}) as manager:
                with pytest.raises(NoHostAvailable):
                    await manager.getconn(timeout=0.5)

    assert ear.told("HostDown")["status"] == "rejected"
    assert "password authentication failed" in str(ear.told("HostDown")["reason"])
    assert CANARY not in "".join(line for lines in ear.lines for line in lines)
    assert not_as_documented(ear.ours()) == []


async def test_a_record_factory_that_adds_what_it_likes_is_no_trouble(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    plain = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        for name in LIKED:
            setattr(record, name, "mine")
        return record

    logging.setLogRecordFactory(factory)
    try:
        with listening(JsonFormatter()) as ear:
            manager = await moor(*pair)
            await manager.wait()
            await pair[0].kill()
            await pair[1].promote()
            await recorder(manager).wait_for(Failover)
    finally:
        logging.setLogRecordFactory(plain)

    assert ear.told("Failover")["after"] == f"127.0.0.1:{pair[1].port}"
    assert not [record for record in ear.ours() if record.levelno >= logging.ERROR]
    assert all(json.loads(line)["host"] == "mine" for line in ear.lines[0])


# -- the example --------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["structlog"]], ids=["logging", "structlog"])
async def test_the_example_writes_a_failover_as_json(arguments: list[str]) -> None:
    command = [sys.executable, str(ROOT / "examples" / "logs_json.py"), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = [line["pgmoor_event"] for line in lines]
    assert {"Connected", "Failover", "Closed"} <= set(told)
    assert {line["pgmoor_manager"] for line in lines} == {"orders"}
    assert len(told) <= 12, told
