"""Real services from Debian's packages, in front of PostgreSQL or beside it.

If a program is not installed, its tests are skipped. With PGMOOR_SERVICES=required, as in CI, they
fail instead.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest

from services.haproxy import HAProxy
from services.patroni import Patroni
from services.pgbouncer import PgBouncer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgmoor.testing import Node
    from services.patroni import Member


def find_program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/postgresql"])
    if path := shutil.which(name, path=places):
        return path
    message = f"{name} is not installed: apt-get install {name}"
    if os.environ.get("PGMOOR_SERVICES") == "required":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def pgbouncer() -> Iterator[Callable[..., PgBouncer]]:
    """Start a PgBouncer in front of a server: `pgbouncer(node, "transaction")`."""
    program = find_program("pgbouncer")
    with ExitStack() as stack:

        def start(node: Node, mode: str, **settings: str) -> PgBouncer:
            return stack.enter_context(PgBouncer(program, node, mode, settings))

        yield start


@pytest.fixture
def haproxy() -> Iterator[Callable[..., HAProxy]]:
    """Start an HAProxy in front of several servers: `haproxy(pair.nodes)`."""
    program = find_program("haproxy")
    with ExitStack() as stack:

        def start(servers: Sequence[Node | Member]) -> HAProxy:
            return stack.enter_context(HAProxy(program, servers))

        yield start


@pytest.fixture(scope="module")
def _patroni() -> Iterator[Patroni]:
    with Patroni(find_program("patroni"), find_program("etcd")) as patroni:
        yield patroni


@pytest.fixture
def patroni(_patroni: Patroni) -> Patroni:
    """Return three Patroni nodes with a leader and an empty table `work`."""
    _patroni.revive()
    with psycopg.connect(_patroni.wait_complete().conninfo) as conn:
        conn.execute("create table if not exists work (id text, node int default 0)")
        conn.execute("truncate work")
    return _patroni
