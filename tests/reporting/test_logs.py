"""The log: its fields under real faults, its page, how much it says, and no password in it."""

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
from hypothesis import given
from hypothesis import strategies as st

import log_calls
from event_samples import SENTENCES
from log_calls import Line
from pgmoor import ConnectionManager, NoHostAvailable
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
# What a record has by itself, and what programs often add to it.
TAKEN = {*vars(logging.makeLogRecord({})), "message", "asctime"}
ADDED = ("host", "event", "manager", "reason", "seconds", "task", "role", "status", "level")


class Collector(logging.Handler):
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

    def first(self, event: str) -> dict[str, object]:
        """Return the fields of the first line about an event."""
        found = map(log_calls.extras, self.records)
        return next(extra for extra in found if extra.get("event") == event)


@contextmanager
def collecting(*formatters: logging.Formatter, level: int = logging.DEBUG) -> Iterator[Collector]:
    """Collect all that is logged anywhere, from *level* on."""
    log, root = Collector(*formatters), logging.getLogger()
    before = root.level
    root.addHandler(log)
    root.setLevel(level)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(before)


class JsonFormatter(logging.Formatter):
    """A formatter that a program might have: it writes all attributes that were added."""

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


def undocumented(records: list[logging.LogRecord]) -> list[str]:
    """Return the records that docs/logs.md does not list as they are."""
    page = log_calls.on_the_page()
    wrong = []
    for record in records:
        extra = log_calls.extras(record)
        place = (record.name, record.levelname, extra.get("event"))
        if not any(
            place == (line.logger, line.level, line.event)
            and line.matches(record.getMessage())
            and set(extra) - {"event", "manager"} <= line.fields
            for line in page
        ):
            wrong.append(f"{record.name} {record.levelname} {record.getMessage()}: {extra}")
    return wrong


# -- the page -----------------------------------------------------------------------------------


def test_the_page_lists_what_the_sources_log_and_no_more() -> None:
    page, sources = log_calls.on_the_page(), log_calls.in_the_sources()
    events = {line for line in sources if line.message == log_calls.SENTENCE}
    kinds = {line.event for line in events}

    assert set(sources) - events == {line for line in page if line.event not in kinds}
    assert [line for line, times in Counter(page).items() if times > 1] == []
    # The lines of events differ by their sentences.
    of_events = [line for line in page if line.event in kinds]
    unspoken = {Line(x.logger, x.level, log_calls.SENTENCE, x.event, x.fields) for x in of_events}
    assert unspoken == events
    assert kinds == {type(event).__name__ for event in SENTENCES}


def test_each_row_of_the_page_about_an_event_is_what_some_event_says() -> None:
    kinds = {type(event).__name__ for event in SENTENCES}
    rows = {line for line in log_calls.on_the_page() if line.event in kinds}

    spoken = set()
    for event, sentence in SENTENCES.items():
        (row,) = (x for x in rows if x.event == type(event).__name__ and x.matches(sentence))
        spoken.add(row)

    assert spoken == rows


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ('logger.info("x")', "no extra"),
        ('logger.info(words, extra=fields("X"))', "the message is not a constant"),
        ('logger.info("x", extra=fields(kind))', "no event"),
        ('logger.info("x", extra={"host": "db1"})', "neither a call nor a name"),
    ],
)
def test_a_logging_call_without_event_or_fields_is_found(
    call: str, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "module.py"
    file.write_text(f'logger = logging.getLogger("pgmoor.x")\n\n\ndef f() -> None:\n    {call}\n')

    with pytest.raises(AssertionError, match=why):
        log_calls.Module(file).lines()


def test_logging_calls_are_read_with_their_levels_events_and_fields(tmp_path: Path) -> None:
    code = """\
        logger = logging.getLogger("pgmoor.x")

        class Pool:
            def report(self, failing):
                level = logging.DEBUG if failing else logging.WARNING
                extra = self._fields("Slow", seconds=3)
                logger.log(level, "%s is %r\\nfor %.2f s", 1, 2, 3, extra=extra)
                event = HostDown(host="db1", status="down", reason="gone")
                self._reporter.tell(event, logger)
                self._reporter.tell(ev.GaveUp(tries=1, seconds=1.0))

            def _fields(self, event, **values):
                return fields(event, self._manager, host=self.host)

            def close(self):
                extra = fields("Closed", self._manager, seconds=1.0)
                logger.exception("closed", extra=extra)
        """
    file = tmp_path / "module.py"
    file.write_text(textwrap.dedent(code))

    slow = frozenset({"host", "seconds"})
    assert set(log_calls.Module(file).lines()) == {
        Line("pgmoor.x", "DEBUG", "… is …", "Slow", slow),
        Line("pgmoor.x", "WARNING", "… is …", "Slow", slow),
        Line("pgmoor.x", "WARNING", "", "HostDown", frozenset({"host", "status", "reason"})),
        Line("pgmoor.hosts", "ERROR", "", "GaveUp", frozenset({"tries", "seconds"})),
        Line("pgmoor.x", "ERROR", "closed", "Closed", frozenset({"seconds"})),
    }


# -- fields -------------------------------------------------------------------------------------


def test_fields_have_a_prefix_and_unknown_values_are_left_out() -> None:
    extra = fields("Failover", "orders", before="db1", after=None, reason="", seconds=0.0)

    assert extra == {
        "pgmoor_event": "Failover",
        "pgmoor_manager": "orders",
        "pgmoor_before": "db1",
        "pgmoor_seconds": 0.0,
    }


def test_the_line_of_an_event_has_the_events_values_as_plain_fields() -> None:
    for event in SENTENCES:
        extra = fields_of(event)

        known = {name for name, value in event.to_dict().items() if value not in (None, "", ())}
        assert set(extra) == {f"pgmoor_{name}" for name in known - {"at"}}
        assert extra["pgmoor_event"] == type(event).__name__
        assert json.loads(json.dumps(extra)) == extra


values = st.none() | st.text() | st.floats() | st.integers()


@given(st.dictionaries(st.sampled_from([*sorted(TAKEN), *ADDED]), values))
def test_no_name_of_a_field_clashes_with_an_attribute_of_a_record(extra: dict[str, Any]) -> None:
    given = {key: value for key, value in extra.items() if key not in ("event", "manager")}

    record = logging.getLogger("pgmoor").makeRecord(
        "pgmoor", logging.INFO, "", 0, "message", (), None, extra=fields("X", "m", **given)
    )

    assert record.getMessage() == "message"
    assert json.dumps(log_calls.extras(record))


# -- under real faults --------------------------------------------------------------------------


async def test_a_failover_in_json_and_in_structlog(pair: Cluster, moor: Callable[..., Any]) -> None:
    names = [f"127.0.0.1:{node.port}" for node in pair]
    with collecting(JsonFormatter(), structlog_formatter()) as log:
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
    assert log.first("Failover") == expected
    prefixed = {f"pgmoor_{key}": value for key, value in expected.items()}
    plain, structured = ([json.loads(line) for line in lines] for lines in log.lines)
    for lines in (plain, structured):
        assert (
            prefixed.items()
            <= next(line for line in lines if line.get("pgmoor_event") == "Failover").items()
        )
    (message,) = {line["event"] for line in structured if line.get("pgmoor_event") == "SplitBrain"}
    assert message.startswith("split brain: ")  # structlog's own key is not overwritten
    assert log.first("SplitBrain")["timeline"] == 1
    assert log.first("Closed") == {"event": "Closed", "manager": "orders"}
    assert undocumented(log.ours()) == []
    assert CANARY not in "".join(line for lines in log.lines for line in lines)


async def test_an_outage_of_five_seconds_is_a_few_lines(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo())
    seen = Recorder(manager)
    with collecting(level=logging.INFO) as log:
        async with manager, Workload(manager) as work:
            await manager.wait()
            log.records.clear()
            await alone[0].kill()
            await seen.wait_for(OutageStarted)
            await asyncio.sleep(5)  # the outage itself takes that long
            await alone[0].start()
            await seen.wait_for(OutageEnded)
            await work.flowing(monotonic())
            logged = list(log.records)

    lines = [f"{record.name} {record.getMessage()}" for record in logged]
    events = [log_calls.extras(record).get("event") for record in logged]
    assert len(lines) <= 10, lines  # 16 callers waited, and the search made a dozen attempts
    assert {"HostDown", "Leaving", "OutageStarted", "HostUp", "OutageEnded"} <= set(events)
    assert events.count("OutageStarted") == events.count("OutageEnded") == 1


async def test_the_holder_of_a_connection_is_a_field(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    with collecting(JsonFormatter()) as log:
        manager = await moor(*alone, name="orders", held_warning=0.05)
        conn = await manager.getconn()
        await recorder(manager).wait_for(HeldTooLong)
        await manager.putconn(conn)

    held = log.first("HeldTooLong")
    assert (held["manager"], held["task"]) == ("orders", asyncio.current_task().get_name())  # type: ignore[union-attr]
    assert "test_the_holder_of_a_connection_is_a_field" in str(held["stack"])
    assert 0.05 < float(str(held["seconds"])) < 5
    assert undocumented(log.ours()) == []


async def test_a_listener_that_fails_is_logged_with_its_manager() -> None:
    listeners, called = Listeners("orders"), asyncio.Event()

    def fail(_: Event) -> None:
        called.set()
        raise ValueError("the listener's own mistake")

    with collecting() as log:
        listeners.subscribe(fail)
        listeners.emit(Connected(host="db1", seconds=0.5))
        await called.wait()
        await listeners.aclose(1)

    assert log.first("ListenerFailed") == {
        "event": "ListenerFailed",
        "manager": "orders",
        "on": "Connected",
    }
    assert undocumented(log.ours()) == []


async def test_a_cancelled_query_is_logged_with_its_host(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    with collecting() as log:
        manager = await moor(*alone, name="orders")
        async with manager.connection() as conn:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await conn.execute("select pg_sleep(10)")

    assert log.first("QueryCancelled") == {
        "event": "QueryCancelled",
        "manager": "orders",
        "host": f"127.0.0.1:{alone[0].port}",
        "reason": "QueryCanceled",
    }
    assert undocumented(log.ours()) == []


async def test_a_rejected_password_is_in_no_line() -> None:
    async with Cluster(standbys=0, auth="scram-sha-256") as locked:
        await locked[0].sql("create role app login password 'right'")
        conninfo = f"host={locked[0].host} port={locked[0].port} user=app dbname=postgres"
        with collecting(JsonFormatter(), structlog_formatter()) as log:
            async with ConnectionManager(conninfo, kwargs={"password": CANARY}) as manager:
                with pytest.raises(NoHostAvailable):
                    await manager.getconn(timeout=0.5)

    assert log.first("HostDown")["status"] == "rejected"
    assert "password authentication failed" in str(log.first("HostDown")["reason"])
    assert CANARY not in "".join(line for lines in log.lines for line in lines)
    assert undocumented(log.ours()) == []


async def test_a_record_factory_may_add_attributes_of_any_name(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    plain = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        for name in ADDED:
            setattr(record, name, "mine")
        return record

    logging.setLogRecordFactory(factory)
    try:
        with collecting(JsonFormatter()) as log:
            manager = await moor(*pair)
            await manager.wait()
            await pair[0].kill()
            await pair[1].promote()
            await recorder(manager).wait_for(Failover)
    finally:
        logging.setLogRecordFactory(plain)

    assert log.first("Failover")["after"] == f"127.0.0.1:{pair[1].port}"
    assert not [record for record in log.ours() if record.levelno >= logging.ERROR]
    assert all(json.loads(line)["host"] == "mine" for line in log.lines[0])


# -- the example --------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["structlog"]], ids=["logging", "structlog"])
async def test_the_example_writes_a_failover_as_json(arguments: list[str]) -> None:
    command = [sys.executable, str(ROOT / "examples" / "logs_json.py"), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    events = [line["pgmoor_event"] for line in lines]
    assert {"Connected", "Failover", "Closed"} <= set(events)
    assert {line["pgmoor_manager"] for line in lines} == {"orders"}
    assert len(events) <= 12, events
