"""pgmoor keeps an asyncio program connected to PostgreSQL."""

from ._version import __version__
from .connection import ManagedConnection
from .errors import (
    CommitOutcomeUnknown,
    ConfigError,
    ConnectionAborted,
    ManagerClosed,
    NoHostAvailable,
    PoolExhausted,
    TooManyRequests,
)
from .health import Health, Holder, HostHealth, PoolFigures, Role, State, Status
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
