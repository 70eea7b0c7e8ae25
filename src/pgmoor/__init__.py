"""pgmoor keeps an asyncio program connected to PostgreSQL."""

from ._version import __version__
from .connection import ManagedConnection
from .errors import (
    CommitOutcomeUnknown,
    ConfigError,
    ConnectionAborted,
    Holder,
    ManagerClosed,
    NoHostAvailable,
    PoolExhausted,
    PoolFigures,
    TooManyRequests,
)
from .health import Health, HostHealth, State
from .hosts import Role, Status
from .manager import ConnectionManager
from .policy import Target
from .tls import InsecureTransportWarning

__all__ = [
    "CommitOutcomeUnknown",
    "ConfigError",
    "ConnectionAborted",
    "ConnectionManager",
    "Health",
    "Holder",
    "HostHealth",
    "InsecureTransportWarning",
    "ManagedConnection",
    "ManagerClosed",
    "NoHostAvailable",
    "PoolExhausted",
    "PoolFigures",
    "Role",
    "State",
    "Status",
    "Target",
    "TooManyRequests",
    "__version__",
]
