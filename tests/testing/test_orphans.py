"""Servers end with the process that started them, however it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from pgmoor.testing import Cluster
from pgmoor.testing._watcher import _processes_in

PARENT = """
import asyncio, time
from pgmoor.testing import Cluster

async def main():
    cluster = Cluster(standbys=1)
    await cluster.open()
    await cluster[1].freeze()
    print(cluster[0].data_dir.parents[1], flush=True)
    time.sleep(600)

asyncio.run(main())
"""
FORGETFUL = """
import asyncio
from pgmoor.testing import Cluster

cluster = Cluster(standbys=0)
asyncio.run(cluster.open())
print(cluster[0].data_dir.parents[1])
"""


def test_servers_end_with_a_process_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        root = Path(parent.stdout.readline().strip())
        assert len(_processes_in(root)) > 5, root
        parent.kill()

    deadline = time.monotonic() + 20
    while _processes_in(root) or root.exists():
        assert time.monotonic() < deadline, _processes_in(root)
        time.sleep(0.02)


def test_servers_end_with_a_process_that_does_not_close_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL], capture_output=True, text=True, check=True
    )

    root = Path(done.stdout.strip())
    assert not root.exists()
    assert _processes_in(root) == []


async def test_the_watcher_ends_with_the_cluster() -> None:
    async with Cluster(standbys=0) as cluster:
        watcher = cluster._watcher
        assert watcher is not None
        process = watcher._process
        assert process is not None
        assert process.poll() is None

    assert process.returncode == 0
