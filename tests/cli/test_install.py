from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor.testing._ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from pgmoor.testing import Cluster

    Start = Callable[..., subprocess.Popen[str]]

FOUND = "select to_regclass('pgmoor.transactions') is not null"


async def test_install_makes_the_table_and_may_be_repeated(pgmoor: Start, alone: Cluster) -> None:
    await alone[0].sql("drop schema if exists pgmoor cascade")
    for _ in range(2):
        process = pgmoor("install", alone.conninfo())
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert "installed: pgmoor.transactions" in out
    assert await alone[0].sql(FOUND) == [(True,)]


async def test_install_prints_sql_that_makes_the_same_table(pgmoor: Start, alone: Cluster) -> None:
    await alone[0].sql("drop schema if exists pgmoor cascade")
    process = pgmoor("install", "--sql")
    sql, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert await alone[0].sql(FOUND) == [(False,)]
    await alone[0].sql(sql)
    assert await alone[0].sql(FOUND) == [(True,)]


def test_install_says_why_it_could_not(pgmoor: Start) -> None:
    conninfo = f"host=127.0.0.1 port={free_port()} password=hunter2"
    process = pgmoor("install", conninfo, "--timeout", "0.5")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "not installed: no host available" in out
    assert "hunter2" not in out + err
