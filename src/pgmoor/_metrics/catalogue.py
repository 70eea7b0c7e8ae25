"""Every metric that pgmoor reports: its names, unit, kind, attributes and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What may happen to a metric's value, in OpenTelemetry's words."""

    COUNTER = "counter"
    UP_DOWN = "up-down counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. *labels* are Prometheus' names, each with the OpenTelemetry attribute's.

    The manager's name is a label of every metric. The label `host`, a host's `host:port`, is two
    attributes in OpenTelemetry: server.address and server.port.
    """

    name: str
    unit: str
    kind: Kind
    prometheus: str
    meaning: str
    labels: tuple[tuple[str, str], ...] = ()


POOL = "db.client.connection.pool.name"  # the attribute that names the manager
HOST = ("host", "server.address, server.port")
STATE = ("state", "db.client.connection.state")
FAILURE = ("kind", "error.type")

CONNECTIONS = Metric(
    "db.client.connection.count",
    "{connection}",
    Kind.UP_DOWN,
    "pgmoor_connections",
    "Connections of the pool, by state: idle or used",
    (STATE,),
)
IDLE_MAX = Metric(
    "db.client.connection.idle.max",
    "{connection}",
    Kind.UP_DOWN,
    "pgmoor_connections_idle_max",
    "The greatest number of connections that may lie idle",
)
IDLE_MIN = Metric(
    "db.client.connection.idle.min",
    "{connection}",
    Kind.UP_DOWN,
    "pgmoor_connections_idle_min",
    "The least number of connections that the pool keeps: min_size",
)
MAX = Metric(
    "db.client.connection.max",
    "{connection}",
    Kind.UP_DOWN,
    "pgmoor_connections_max",
    "The greatest number of connections that the pool makes: max_size and max_overflow",
)
PENDING = Metric(
    "db.client.connection.pending_requests",
    "{request}",
    Kind.UP_DOWN,
    "pgmoor_pending_requests",
    "Callers that wait for a connection",
)
TIMEOUTS = Metric(
    "db.client.connection.timeouts",
    "{timeout}",
    Kind.COUNTER,
    "pgmoor_timeouts_total",
    "Callers that waited for as long as they would, and got no connection",
)
CREATE_TIME = Metric(
    "db.client.connection.create_time",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_connection_create_seconds",
    "The time it took to make and test a connection for the pool",
)
WAIT_TIME = Metric(
    "db.client.connection.wait_time",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_connection_wait_seconds",
    "The time it took a caller to get a connection; 0 when one lay ready",
)
USE_TIME = Metric(
    "db.client.connection.use_time",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_connection_use_seconds",
    "The time from a caller getting a connection to its giving it back",
)
READY = Metric(
    "pgmoor.ready",
    "1",
    Kind.GAUGE,
    "pgmoor_ready",
    "1 while a host is in use, else 0",
)
MANAGER_STATE = Metric(
    "pgmoor.manager.state",
    "{manager}",
    Kind.UP_DOWN,
    "pgmoor_manager_state",
    "1 for the state that the manager is in, 0 for the others",
    (("state", "pgmoor.manager.state"),),
)
FAILOVERS = Metric(
    "pgmoor.failovers",
    "{failover}",
    Kind.COUNTER,
    "pgmoor_failovers_total",
    "Times that everyone was moved to another host because of trouble with the one in use",
)
OUTAGE_TIME = Metric(
    "pgmoor.outage.time",
    "s",
    Kind.COUNTER,
    "pgmoor_outage_seconds_total",
    "Time without a host in use, the one that goes on included",
)
DETECTION = Metric(
    "pgmoor.detection.duration",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_detection_seconds",
    "The time from the first sign of trouble with the host in use to its being given up",
)
RECOVERY = Metric(
    "pgmoor.recovery.duration",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_recovery_seconds",
    "The time from a host being given up to a host being in use again, that one or another",
)
ATTEMPTS = Metric(
    "pgmoor.reconnect.attempts",
    "{attempt}",
    Kind.COUNTER,
    "pgmoor_reconnect_attempts_total",
    "Times that the hosts were asked anew while none was in use",
)
EVENTS = Metric(
    "pgmoor.events",
    "{event}",
    Kind.COUNTER,
    "pgmoor_events_total",
    "Events, by their class",
    (("event", "pgmoor.event.name"),),
)
HOST_STATE = Metric(
    "pgmoor.host.state",
    "{host}",
    Kind.UP_DOWN,
    "pgmoor_host_state",
    "1 for the state that the host is in, 0 for the others",
    (HOST, ("state", "pgmoor.host.state")),
)
HOST_ROLE = Metric(
    "pgmoor.host.role",
    "{host}",
    Kind.UP_DOWN,
    "pgmoor_host_role",
    "1 for the role that the host had when it answered last, 0 for the others",
    (HOST, ("role", "pgmoor.host.role")),
)
HOST_IN_USE = Metric(
    "pgmoor.host.in_use",
    "{host}",
    Kind.UP_DOWN,
    "pgmoor_host_in_use",
    "1 for the host in use, 0 for the others",
    (HOST,),
)
HOST_STALE = Metric(
    "pgmoor.host.stale",
    "{host}",
    Kind.UP_DOWN,
    "pgmoor_host_stale",
    "1 for a host that is up and claims to be primary on a timeline that was left, else 0",
    (HOST,),
)
HOST_LAG = Metric(
    "pgmoor.host.lag",
    "s",
    Kind.GAUGE,
    "pgmoor_host_lag_seconds",
    "How far a standby that is up is behind in replay; 0 where it has replayed all that it got",
    (HOST,),
)
PROBES = Metric(
    "pgmoor.probe.duration",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_probe_seconds",
    "The time a probe of the host took that was answered",
    (HOST,),
)
PROBE_FAILURES = Metric(
    "pgmoor.probe.failures",
    "{failure}",
    Kind.COUNTER,
    "pgmoor_probe_failures_total",
    "Probes of the host that failed, by the kind of failure",
    (HOST, FAILURE),
)
DIAL_FAILURES = Metric(
    "pgmoor.dial.failures",
    "{failure}",
    Kind.COUNTER,
    "pgmoor_dial_failures_total",
    "Connections to the host that could not be made for the pool, by the kind of failure",
    (HOST, FAILURE),
)
ABORTED = Metric(
    "pgmoor.connection.aborted",
    "{connection}",
    Kind.COUNTER,
    "pgmoor_connections_aborted_total",
    "Connections to the host that pgmoor cut, because the host was left or did not answer",
    (HOST,),
)

METRICS = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
