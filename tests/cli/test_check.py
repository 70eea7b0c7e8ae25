from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor.testing._ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    import pytest

    from pgmoor.testing import Cluster

    Start = Callable[..., subprocess.Popen[str]]


async def test_check_shows_each_host_and_succeeds(pgmoor: Start, pair: Cluster) -> None:
    process = pgmoor("check", pair.conninfo())

    out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, "")
    first, second = (line for line in out.splitlines() if line.startswith(pair[0].host))
    assert f":{pair[0].port} " in first
    assert "primary" in first
    assert "in use" in first
    assert "standby" in second
    assert f"ready: {pair[0].host}:{pair[0].port}, primary" in out


async def test_check_without_a_conninfo_uses_the_pg_variables(
    pgmoor: Start, alone: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", alone[0].host)
    monkeypatch.setenv("PGPORT", str(alone[0].port))
    monkeypatch.setenv("PGUSER", "postgres")
    monkeypatch.setenv("PGDATABASE", "postgres")
    process = pgmoor("check")

    out, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert f"{alone[0].host}:{alone[0].port}" in out


def test_check_shows_why_a_host_is_not_ready_and_no_password(pgmoor: Start) -> None:
    port = free_port()
    process = pgmoor("check", f"host=127.0.0.1 port={port} password=hunter2", "--timeout", "0.5")

    out, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "refused" in out
    assert "not ready within 0.5 s" in out
    assert "hunter2" not in out + err


def test_an_invalid_conninfo_is_refused_and_not_quoted(pgmoor: Start) -> None:
    process = pgmoor("check", "postgresql://app:hunter2@db:port/orders")

    out, err = process.communicate(timeout=20)

    assert process.returncode == 2
    assert err.startswith("pgmoor: ")
    assert "hunter2" not in out + err
