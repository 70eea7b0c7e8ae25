"""Every metric that pgmoor reports: names, unit, kind, attributes and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kind of a metric, in OpenTelemetry's words."""

    COUNTER = "counter"
    UP_DOWN = "up-down counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Each of *labels* is Prometheus' name and that of the OpenTelemetry attribute.

    Every metric also has the manager's name. The label `host`, a `host:port`, is two attributes in
    OpenTelemetry: server.address and server.port.
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
    "The maximum number of idle connections",
)
IDLE_MIN = Metric(
    "db.client.connection.idle.min",
    "{connection}",
    Kind.UP_DOWN,
    "pgmoor_connections_idle_min",
    "The minimum number of connections that the pool keeps: min_size",
)
MAX = Metric(
    "db.client.connection.max",
    "{connection}",
    Kind.UP_DOWN,
    "pgmoor_connections_max",
    "The maximum number of connections: max_size plus max_overflow",
)
PENDING = Metric(
    "db.client.connection.pending_requests",
    "{request}",
    Kind.UP_DOWN,
    "pgmoor_pending_requests",
    "Callers waiting for a connection",
)
TIMEOUTS = Metric(
    "db.client.connection.timeouts",
    "{timeout}",
    Kind.COUNTER,
    "pgmoor_timeouts_total",
    "Callers that got no connection within their timeout",
)
CREATE_TIME = Metric(
    "db.client.connection.create_time",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_connection_create_seconds",
    "Time to make and test a connection for the pool",
)
WAIT_TIME = Metric(
    "db.client.connection.wait_time",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_connection_wait_seconds",
    "Time for a caller to get a connection; 0 if one was idle",
)
USE_TIME = Metric(
    "db.client.connection.use_time",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_connection_use_seconds",
    "Time from checkout to return",
)
READY = Metric(
    "pgmoor.ready",
    "1",
    Kind.GAUGE,
    "pgmoor_ready",
    "1 while a host is in use with a connection to it, or the manager is quiet, else 0",
)
MANAGER_STATE = Metric(
    "pgmoor.manager.state",
    "{manager}",
    Kind.UP_DOWN,
    "pgmoor_manager_state",
    "1 for the manager's present state, 0 for the others",
    (("state", "pgmoor.manager.state"),),
)
FAILOVERS = Metric(
    "pgmoor.failovers",
    "{failover}",
    Kind.COUNTER,
    "pgmoor_failovers_total",
    "Moves of all callers to another host because of trouble with the one in use",
)
OUTAGE_TIME = Metric(
    "pgmoor.outage.time",
    "s",
    Kind.COUNTER,
    "pgmoor_outage_seconds_total",
    "Time without a host in use, including the present outage",
)
DETECTION = Metric(
    "pgmoor.detection.duration",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_detection_seconds",
    "Time from the first sign of trouble with the host in use until it is given up",
)
RECOVERY = Metric(
    "pgmoor.recovery.duration",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_recovery_seconds",
    "Time from giving up a host until one is in use again, the same or another",
)
ATTEMPTS = Metric(
    "pgmoor.reconnect.attempts",
    "{attempt}",
    Kind.COUNTER,
    "pgmoor_reconnect_attempts_total",
    "Attempts to reconnect: probes of all hosts while none was in use",
)
REPEATS = Metric(
    "pgmoor.transaction.repeats",
    "{repeat}",
    Kind.COUNTER,
    "pgmoor_transaction_repeats_total",
    "Transactions that `run()` or `retrying()` has repeated",
)
REPEATS_REFUSED = Metric(
    "pgmoor.transaction.repeats_refused",
    "{repeat}",
    Kind.COUNTER,
    "pgmoor_transaction_repeats_refused_total",
    "Transactions that were not repeated, because the budget was used up",
)
RESOLVED = Metric(
    "pgmoor.transaction.resolved",
    "{transaction}",
    Kind.COUNTER,
    "pgmoor_transactions_resolved_total",
    "Transactions whose `COMMIT` was not answered, by outcome",
    (("outcome", "pgmoor.transaction.outcome"),),
)
EVENTS = Metric(
    "pgmoor.events",
    "{event}",
    Kind.COUNTER,
    "pgmoor_events_total",
    "Events, by class",
    (("event", "pgmoor.event.name"),),
)
HOST_STATE = Metric(
    "pgmoor.host.state",
    "{host}",
    Kind.UP_DOWN,
    "pgmoor_host_state",
    "1 for the host's present state, 0 for the others",
    (HOST, ("state", "pgmoor.host.state")),
)
HOST_ROLE = Metric(
    "pgmoor.host.role",
    "{host}",
    Kind.UP_DOWN,
    "pgmoor_host_role",
    "1 for the host's role as of its last answer, 0 for the others",
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
    "1 for a host that is up and claims to be primary on a superseded timeline, else 0",
    (HOST,),
)
HOST_LAG = Metric(
    "pgmoor.host.lag",
    "s",
    Kind.GAUGE,
    "pgmoor_host_lag_seconds",
    "Replay lag of a standby that is up; 0 if it has replayed everything it received",
    (HOST,),
)
PROBES = Metric(
    "pgmoor.probe.duration",
    "s",
    Kind.HISTOGRAM,
    "pgmoor_probe_seconds",
    "Time of probes that the host answered",
    (HOST,),
)
PROBE_FAILURES = Metric(
    "pgmoor.probe.failures",
    "{failure}",
    Kind.COUNTER,
    "pgmoor_probe_failures_total",
    "Failed probes of the host, by kind of failure",
    (HOST, FAILURE),
)
DIAL_FAILURES = Metric(
    "pgmoor.dial.failures",
    "{failure}",
    Kind.COUNTER,
    "pgmoor_dial_failures_total",
    "Failed dials to the host for the pool, by kind of failure",
    (HOST, FAILURE),
)
ABORTED = Metric(
    "pgmoor.connection.aborted",
    "{connection}",
    Kind.COUNTER,
    "pgmoor_connections_aborted_total",
    "Connections to the host that pgmoor cut, because it left the host or the host did not answer",
    (HOST,),
)

METRICS = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
