"""Makes a running cluster empty again by SQL, where nothing but SQL was done to it.

What was done to its servers is undone by `Cluster.reset`.
"""

from psycopg import sql

from ._cluster import Cluster

SESSIONS = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where pid <> pg_backend_pid() and backend_type = 'client backend'"
)
DATABASES = "select datname from pg_database where not datistemplate and datname <> 'postgres'"
SCHEMAS = (
    "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
)
ROLES = "select rolname from pg_roles where rolname !~ '^pg_' and rolname <> 'postgres'"


async def empty(cluster: Cluster) -> None:
    """Bring a cluster back to how it was opened, whatever was done to it or in it.

    Databases, schemas, roles and settings that were made since are removed, and the sessions of
    other clients are ended. Raises ClusterError when a server doesn't come back.
    """
    await cluster.reset()
    with cluster[0].member.connect() as conn:
        conn.execute(SESSIONS)
        for (name,) in conn.execute(DATABASES).fetchall():
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        for (name,) in conn.execute(SCHEMAS).fetchall():
            conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
        conn.execute("create schema public authorization pg_database_owner")
        conn.execute("grant usage on schema public to public")
        for (name,) in conn.execute(ROLES).fetchall():
            conn.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
        conn.execute("alter system reset all")
        conn.execute("select pg_reload_conf()")
        row = conn.execute("select pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    for node in cluster.nodes[1:]:
        await node.wait_for(f"select pg_last_wal_replay_lsn() >= '{row[0]}'")
