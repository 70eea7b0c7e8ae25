"""One password, given in every way, and searched for in all that is shown."""

from __future__ import annotations

import asyncio
import copy
import faulthandler
import logging
import pickle
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import psycopg
import pytest

from canary import CANARY, traces
from hostile import Conversation, HostileServer
from pgmoor import ConnectionManager
from pgmoor._core.util.redaction import MASK
from pgmoor.testing._ports import free_port
from ways import environment, options, ways
from witness import Witness, attribute_texts, reachable_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgmoor.testing import Cluster


class Watched(NamedTuple):
    """The witness of a test, its folder and its environment."""

    witness: Witness
    folder: Path
    patch: pytest.MonkeyPatch


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Record all that is logged and warned; at the end it must hold no trace of the password."""
    witness = Witness()
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in ("psycopg", "psycopg.pool", "pgmoor", "asyncio")]
    before = [(logger, logger.level) for logger in (root, *loggers)]
    for logger, _ in before:
        logger.setLevel(logging.DEBUG)
    # No other handler: pytest's keeps the records, and with them psycopg's open connections.
    handlers, root.handlers = root.handlers, [witness]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield Watched(witness, tmp_path, monkeypatch)
    root.handlers = handlers
    for logger, level in before:
        logger.setLevel(level)
    witness.record_objects(*(str(warning.message) for warning in warned))
    assert len(witness.texts) > 100
    assert traces(*witness.texts) == []


async def used(witness: Witness, **given: Any) -> bool:
    """Use a manager as programs do and record all that it shows; return whether it worked."""
    # What the witness does blocks the loop for long: no answer counts as late for that.
    patience: dict[str, Any] = {"health_timeout": 30.0, "cancel_timeout": 30.0}
    manager = ConnectionManager(
        **given, **patience, min_size=1, when_down="fail", on_event=witness.record_objects
    )
    witness.record_objects(manager)
    worked = False
    try:
        await manager.open()
        witness.record_tasks()
        async with manager.connection() as conn:
            await conn.execute("select 1")
            witness.record_objects(conn)
            worked = True
        await manager.check()
    except psycopg.Error as error:
        witness.record_error(error)
    for ask in (manager.wait, manager.wait_ready):
        try:
            await ask(0.05)
        except psycopg.Error as error:
            witness.record_error(error)
    health = await manager.health(fresh=True, timeout=0.1)
    witness.record_objects(manager, health, health.to_dict(), manager.get_stats(), *health.hosts)
    witness.record_tasks()
    await manager.close()
    witness.record_objects(manager)
    return worked


# -- real servers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "dbname", "said"),
    [
        ("keeper", "postgres", ""),
        ("stranger", "postgres", "password authentication failed"),
        ("nobody", "postgres", "password authentication failed"),
        ("keeper", "nowhere", 'database "nowhere" does not exist'),
    ],
)
async def test_nothing_shows_the_password_that_a_server_accepts_or_rejects(
    guarded: Cluster, watched: Watched, user: str, dbname: str, said: str
) -> None:
    witness, folder, _ = watched
    place = {"host": guarded[0].host, "port": guarded[0].port, "user": user, "dbname": dbname}
    given = ways(folder, **place)

    outcomes = await asyncio.gather(*(used(witness, **way) for way in given.values()))

    assert dict(zip(given, outcomes, strict=True)) == dict.fromkeys(given, not said)
    assert sum(said in text for text in witness.texts) > len(given)


@pytest.mark.parametrize("name", ["PGPASSWORD", "PGPASSFILE", "PGSERVICE"])
async def test_nothing_shows_a_password_from_the_environment(
    guarded: Cluster, watched: Watched, name: str
) -> None:
    witness, folder, patch = watched
    place = {"host": guarded[0].host, "port": guarded[0].port, "dbname": "postgres"}
    for user in ("keeper", "stranger"):
        given = environment(folder, patch, user=user, **place)[name]()

        assert await used(witness, **given) is (user == "keeper")


async def test_nothing_shows_the_password_for_a_server_that_is_down(watched: Watched) -> None:
    witness, folder, _ = watched
    place = {"host": "127.0.0.1", "port": free_port(), "user": "keeper", "dbname": "postgres"}
    given = ways(folder, **place)

    outcomes = await asyncio.gather(*(used(witness, **way) for way in given.values()))

    assert not any(outcomes)


# -- servers that send it back ------------------------------------------------------------------


class Echo:
    """Learns the password, and sends it back in many spellings."""

    def __init__(self, *, lets_in: bool) -> None:
        self.received: list[str] = []
        self._lets_in = lets_in

    def __call__(self, talk: Conversation) -> None:
        talk.startup()
        self.received.append(password := talk.parameters.get("options") or talk.password())
        spellings = [
            password,
            password[:9],
            password[4:],
            quote(password),
            quote(password, "").lower(),
        ]
        spellings += [
            repr(password),
            ascii(password),
            str(talk.parameters),
            password.replace("'", "''"),
        ]
        text = "no, " + ", nor ".join(spellings)
        if not self._lets_in:
            talk.error(text, code="28P01")
            return
        talk.greet(application_name=password)
        while True:
            talk.receive()
            talk.error(text, code="XX000", severity="ERROR")
            talk.ready()


@pytest.mark.parametrize("lets_in", [False, True])
async def test_a_server_that_sends_the_password_back_is_redacted(
    watched: Watched, lets_in: bool
) -> None:
    witness, folder, _ = watched
    echo = Echo(lets_in=lets_in)
    with HostileServer(echo) as server:
        place = {"host": server.host, "port": server.port, "user": "keeper", "dbname": "orders"}
        given = ways(folder, **place)

        await asyncio.gather(*(used(witness, **way) for way in given.values()))

        assert len(echo.received) >= len(given)
        assert set(echo.received) == {CANARY}
    assert sum(f"no, {MASK}" in text for text in witness.texts) > len(given)


@pytest.mark.parametrize("name", ["PGPASSWORD", "PGPASSFILE", "PGSERVICE"])
async def test_a_server_that_sends_a_password_from_the_environment_back_is_redacted(
    watched: Watched, name: str
) -> None:
    witness, folder, patch = watched
    for lets_in in (False, True):
        echo = Echo(lets_in=lets_in)
        with HostileServer(echo) as server:
            place = {"host": server.host, "port": server.port, "user": "app", "dbname": "orders"}
            given = environment(folder, patch, **place)[name]()

            await used(witness, **given)

            assert set(echo.received) == {CANARY}
    assert any(f"no, {MASK}" in text for text in witness.texts)


@pytest.mark.parametrize("variable", [False, True], ids=["options", "PGOPTIONS"])
async def test_a_server_that_sends_secret_options_back_is_redacted(
    watched: Watched, variable: bool
) -> None:
    witness, _, patch = watched
    kwargs = {"options": options()}
    if variable:
        patch.setenv("PGOPTIONS", kwargs.pop("options"))
    for lets_in in (False, True):
        echo = Echo(lets_in=lets_in)
        with HostileServer(echo) as server:
            conninfo = f"host={server.host} port={server.port} user=app password=another"
            await used(witness, conninfo=conninfo, kwargs=kwargs)

            assert CANARY in echo.received[0].replace("\\ ", " ").replace("\\\\", "\\")
    assert any(f"canary.is={MASK} -c statement_timeout=9999" in text for text in witness.texts)


@pytest.mark.parametrize("way", ["URI", "coroutine function", "callable keywords", "password file"])
async def test_asyncios_debug_mode_does_not_show_the_password(
    guarded: Cluster, watched: Watched, way: str
) -> None:
    witness, folder, _ = watched
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0  # every callback is logged with its arguments and results
    loop.set_exception_handler(witness.record_context)
    place = {"host": guarded[0].host, "port": guarded[0].port, "dbname": "postgres"}
    with HostileServer(Echo(lets_in=False)) as server:
        echo = {**place, "user": "keeper", "port": server.port}
        for other in ({**place, "user": "keeper"}, {**place, "user": "stranger"}, echo):
            await used(witness, **ways(folder, **other)[way])

    assert sum("Executing" in text for text in witness.texts) > 100


# -- objects ------------------------------------------------------------------------------------


async def test_no_attribute_at_any_depth_leads_to_the_password(
    guarded: Cluster, tmp_path: Path
) -> None:
    place = {"host": guarded[0].host, "port": guarded[0].port, "user": "keeper"}
    for way in ways(tmp_path, dbname="postgres", **place).values():
        async with ConnectionManager(**way, min_size=1) as manager, manager.connection() as conn:
            pool = manager.as_pool()
            found = [*attribute_texts(manager), *attribute_texts(conn), *attribute_texts(pool)]
            held = [*reachable_texts(manager), *reachable_texts(conn), *reachable_texts(pool)]

        assert len(found) > 50
        assert [path for path, text in found if traces(text)] == []
        assert traces(*held) == []


async def test_a_manager_is_neither_copied_nor_pickled(tmp_path: Path) -> None:
    place = {"host": "db1", "port": 5432, "user": "keeper", "dbname": "postgres"}
    for way in ways(tmp_path, **place).values():
        manager = ConnectionManager(**way)

        for dump in (pickle.dumps, copy.deepcopy):
            for thing in (manager, manager.as_pool()):
                with pytest.raises(TypeError) as caught:
                    dump(thing)
                assert traces(str(caught.value)) == []


async def test_a_dump_of_all_threads_does_not_show_the_password(
    guarded: Cluster, tmp_path: Path
) -> None:
    conninfo = guarded.conninfo(user="keeper", password=CANARY)
    path = tmp_path / "dump"
    async with ConnectionManager(conninfo, min_size=1) as manager:
        await manager.wait()
        with path.open("w") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    assert "test_a_dump_of_all_threads" in path.read_text()
    assert traces(path.read_text()) == []
