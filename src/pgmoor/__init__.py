"""pgmoor keeps an asyncio program connected to PostgreSQL."""

try:
    import psycopg as _psycopg  # noqa: F401
except ImportError as _error:
    if "pq wrapper" not in str(_error):  # psycopg's words when it finds no libpq
        raise
    raise ImportError(
        'psycopg can\'t load libpq: run pip install "pgmoor[binary]", or install libpq (libpq5)'
    ) from _error

from ._core.connection.managed import ManagedConnection
from ._core.failover.host_watch import HostWatch
from ._core.hosts.rules import Target
from ._core.manager.manager import ConnectionManager
from ._core.settings.tls import InsecureTransportWarning
from ._core.work.retry import Retry
from ._version import __version__
from .errors import (
    AlreadyDone,
    CommitOutcomeUnknown,
    ConfigError,
    ConnectionAborted,
    ManagerClosed,
    NoHostAvailable,
    NotInstalled,
    PoolExhausted,
    RetrySafety,
    TooManyRequests,
    TransactionTimeout,
    retry_safety,
)
from .health import Health, Holder, HostHealth, PoolFigures, Role, State, Status
from .tokens import Host, Token

__all__ = [
    "AlreadyDone",
    "CommitOutcomeUnknown",
    "ConfigError",
    "ConnectionAborted",
    "ConnectionManager",
    "Health",
    "Holder",
    "Host",
    "HostHealth",
    "HostWatch",
    "InsecureTransportWarning",
    "ManagedConnection",
    "ManagerClosed",
    "NoHostAvailable",
    "NotInstalled",
    "PoolExhausted",
    "PoolFigures",
    "Retry",
    "RetrySafety",
    "Role",
    "State",
    "Status",
    "Target",
    "Token",
    "TooManyRequests",
    "TransactionTimeout",
    "__version__",
    "retry_safety",
]
