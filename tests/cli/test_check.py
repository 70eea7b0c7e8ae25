from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import trustme

from pgmoor._cli.inspection import Tls, inspect
from pgmoor.testing._ports import free_port
from tls_front import TlsFront, server_context

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster, FaultProxy

    Start = Callable[..., subprocess.Popen[str]]

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


async def test_check_shows_each_host_and_succeeds(pgmoor: Start, pair: Cluster) -> None:
    process = pgmoor("check", pair.conninfo())

    out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith(pair[0].host)]
    primary, standby = (f"{node.host}:{node.port}" for node in pair)
    assert [row[:4] for row in rows[:2]] == [
        [primary, "up", "primary", "1"],
        [standby, "up", "standby", "1"],
    ]
    assert rows[0][-2:] == ["in", "use"]
    assert [(row[0], row[-2:]) for row in rows[2:]] == [
        (primary, ["no", "TLS"]),
        (standby, ["no", "TLS"]),
    ]
    assert "synchronous_standby_names = '' on " + primary in out
    assert "Remedy: name your standbys" in out
    assert f"ready: {primary}, primary" in out


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
    process = pgmoor("check", f"host=127.0.0.1 port={port} password=hunter2", "--timeout", "60")

    out, err = process.communicate(timeout=20)  # it ends as soon as the host has refused

    assert process.returncode == 1
    assert "refused" in out
    assert "not ready: no host satisfies the target" in out
    assert "hunter2" not in out + err


def test_an_invalid_conninfo_is_refused_and_not_quoted(pgmoor: Start) -> None:
    process = pgmoor("check", "postgresql://app:hunter2@db:port/orders")

    out, err = process.communicate(timeout=20)

    assert process.returncode == 2
    assert err.startswith("pgmoor: ")
    assert "hunter2" not in out + err


async def test_check_in_json_has_the_documented_keys_and_values(
    pgmoor: Start, pair: Cluster, busy: None
) -> None:
    process = pgmoor("check", pair.conninfo(), "--json", "--max-size", "50")

    out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, "")
    found = json.loads(out)
    primary, standby = found["hosts"]
    documented = COMMANDS.read_text(encoding="utf-8")
    for name in {*found, *primary, *primary["tls"], *primary["connections"], *found["findings"][0]}:
        assert f"`{name}`" in documented
    assert found["ready"] is True
    assert found["used"] == primary["host"] == f"{pair[0].host}:{pair[0].port}"
    assert (primary["role"], primary["timeline"]) == ("primary", 1)
    assert (standby["role"], standby["timeline"]) == ("standby", 1)
    assert primary["tls"] == {"in_use": False, "version": None, "cipher": None}
    # The session of `busy`, and not the command's own.
    assert primary["connections"] == {"used": 1, "allowed": primary["connections"]["allowed"]}
    settings = {(finding["host"], finding["setting"]) for finding in found["findings"]}
    assert (primary["host"], "max_connections") in settings


@pytest.fixture
async def busy(pair: Cluster) -> AsyncIterator[None]:
    """One session of another program."""
    async with await psycopg.AsyncConnection.connect(pair[0].conninfo()):
        yield


async def test_hosts_replace_those_of_the_conninfo_and_a_missing_primary_ends_the_check(
    pgmoor: Start, pair: Cluster
) -> None:
    standby = f"{pair[1].host}:{pair[1].port}"
    hosts = f"{standby},127.0.0.1:{free_port()}"
    process = pgmoor("check", pair.conninfo(), "--hosts", hosts, "--timeout", "60")

    out, _ = process.communicate(timeout=20)

    assert process.returncode == 1
    assert f":{pair[0].port}" not in out
    assert f"{standby}  up      standby" in out
    assert "not ready: no host satisfies the target" in out


async def test_tls_is_found_even_where_the_server_knows_nothing_of_it(alone: Cluster) -> None:
    authority = trustme.CA()
    context = server_context(authority.issue_cert("127.0.0.1"))
    with TlsFront(alone[0].host, alone[0].port, context) as front:
        conninfo = f"host={front.host} port={front.port} user=postgres dbname=postgres"
        found = await inspect(conninfo, 5)

    assert found is not None
    assert found.tls == Tls(in_use=True)
    assert str(found.version).startswith(("16", "18"))


async def test_a_silent_server_is_not_waited_for(
    alone: Cluster, proxies: Callable[[Cluster], list[FaultProxy]]
) -> None:
    (proxy,) = proxies(alone)
    proxy.blackhole()

    assert await inspect(f"host={proxy.host} port={proxy.port} user=postgres", 0.3) is None
