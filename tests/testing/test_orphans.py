"""A process that is killed leaves no servers behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_with_a_process_that_is_killed(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        root = Path(parent.stdout.readline().strip())
        assert len(_processes_in(root)) > 5, root
        parent.send_signal(number)
    assert parent.returncode == -number

    deadline = time.monotonic() + 20
    while _processes_in(root) or root.exists():
        assert time.monotonic() < deadline, _processes_in(root)
        time.sleep(0.02)


async def test_the_watcher_ends_with_the_cluster() -> None:
    async with Cluster(standbys=0) as cluster:
        watcher = cluster._watcher
        assert watcher is not None
        process = watcher._process
        assert process is not None
        assert process.poll() is None

    assert process.returncode == 0
