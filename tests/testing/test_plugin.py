"""The fixtures of `pytest_pgmoor`, each in a run of pytest of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
import anyio
import psycopg
import pytest

from pgmoor.testing import CRASH, under_faults

seen = []


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def use(manager, cluster):
    async with manager(min_size=1) as moor, moor.connection() as conn:
        await conn.execute("create table mine (id int)")
    async with await psycopg.AsyncConnection.connect(cluster[-1].conninfo()) as conn:
        cursor = await conn.execute("select current_setting('cluster_name')")
        seen.append((id(cluster), await cursor.fetchone()))


@pytest.mark.asyncio
async def test_asyncio(manager, postgres_cluster):
    await use(manager, postgres_cluster)


@pytest.mark.asyncio(loop_scope="module")
async def test_asyncio_on_another_loop(manager, postgres_cluster):
    await use(manager, postgres_cluster)  # creates the table again: it is gone


@pytest.mark.anyio
async def test_anyio(manager, postgres_cluster):
    with anyio.fail_after(20):
        await use(manager, postgres_cluster)


def test_without_a_loop(postgres_cluster):
    with psycopg.connect(postgres_cluster.conninfo(0)) as conn:
        assert conn.execute("select to_regclass('mine')").fetchone() == (None,)
        conn.execute("create role somebody")
        conn.execute("create schema theirs authorization somebody")


def test_the_servers_are_the_same_and_empty(postgres_cluster):
    assert {cluster for cluster, _ in seen} == {id(postgres_cluster)}
    assert {name for _, name in seen} == {("n1",)}
    with psycopg.connect(postgres_cluster.conninfo(0)) as conn:
        left = conn.execute("select count(*) from pg_roles where rolname = 'somebody'")
        assert left.fetchone() == (0,)


@pytest.mark.anyio
async def test_a_proxy(manager, postgres_cluster, fault_proxy):
    door = fault_proxy(postgres_cluster[0])
    other = fault_proxy(postgres_cluster[0].host, postgres_cluster[0].port)
    async with manager(door, min_size=1) as moor, moor.connection() as conn:
        await conn.execute("select 1")
    assert door.accepted and not other.accepted


@pytest.mark.anyio
async def test_a_crash(manager, postgres_cluster):
    async with manager(min_size=1) as moor:
        async def work():
            async with moor.connection() as conn:
                await conn.execute("select 1")

        (await under_faults(work, postgres_cluster, [CRASH])).assert_survived(within=10)


@pytest.mark.postgres_cluster(standbys=0, settings={"work_mem": "1MB"})
def test_a_marker(postgres_cluster):
    assert len(postgres_cluster) == 1
    with psycopg.connect(postgres_cluster.conninfo()) as conn:
        assert conn.execute("show work_mem").fetchone() == ("1MB",)


def test_after_the_crash_the_first_server_is_primary_again(postgres_cluster):
    with psycopg.connect(postgres_cluster.conninfo(0)) as conn:
        assert conn.execute("select pg_is_in_recovery()").fetchone() == (False,)
"""
LOOP = "asyncio_default_fixture_loop_scope = function\n"  # pytest-asyncio warns without it


def run(folder: Path, suite: str, *options: str, ini: str = "") -> str:
    """Run pytest on a suite in a folder of its own; return its output."""
    (folder / "test_suite.py").write_text(suite)
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_pgmoor", "-p", "no:cacheprovider", *options],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr


@pytest.mark.thorough
def test_asyncio_anyio_and_plain_tests_share_servers_and_find_them_empty(tmp_path: Path) -> None:
    ini = f"{LOOP}asyncio_mode = strict\n"
    printed = run(tmp_path, SUITE, "--strict-markers", ini=ini)
    assert "9 passed" in printed, printed


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("setting", "options"), [(0, []), (2, ["--postgres-standbys=0"])], ids=["setting", "option"]
)
def test_the_number_of_standbys_is_a_setting_and_an_option_that_takes_precedence(
    tmp_path: Path, setting: int, options: list[str]
) -> None:
    suite = "def test_it(postgres_cluster):\n    assert len(postgres_cluster) == 1\n"
    ini = f"postgres_standbys = {setting}\n"
    printed = run(tmp_path, suite, *options, "-p", "no:asyncio", ini=ini)
    assert "1 passed" in printed, printed


@pytest.mark.thorough
def test_without_postgresql_only_tests_with_a_cluster_fail(tmp_path: Path) -> None:
    suite = """
import pytest

from pgmoor.testing import _binaries as binaries

@pytest.fixture(autouse=True)
def nothing(monkeypatch):
    monkeypatch.setattr(binaries, "_in_wheel", lambda version: ())
    monkeypatch.setattr(binaries, "_in_system", lambda version: ())

def test_needs_it(postgres_cluster): ...

def test_does_not(): ...
"""
    printed = run(tmp_path, suite, "-p", "no:asyncio")
    assert "1 passed, 1 error" in printed, printed
    assert re.search("ClusterError: no PostgreSQL was found .*pgmoor.testing", printed), printed


@pytest.mark.thorough
def test_a_suite_without_the_fixtures_does_not_import_pgmoor(tmp_path: Path) -> None:
    suite = """
import json, sys

def test_it():
    loaded = [name for name in sys.modules if name.split(".")[0] in ("pgmoor", "psycopg")]
    print("LOADED", json.dumps(loaded))
"""
    printed = run(tmp_path, suite, "-s", "-p", "no:asyncio", "-p", "no:anyio")
    found = re.search("LOADED (.*)", printed)
    assert found is not None, printed
    assert json.loads(found[1]) == []


def test_importing_the_plugin_imports_nothing_else_but_what_pytest_does() -> None:
    code = (
        "import json, sys, pytest; before = set(sys.modules); import pytest_pgmoor;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == ["pytest_pgmoor"]
