"""pgmoor keeps an asyncio program connected to PostgreSQL."""

from ._core.connection.managed import ManagedConnection
from ._core.hosts.rules import Target
from ._core.manager.manager import ConnectionManager
from ._core.settings.tls import InsecureTransportWarning
from ._version import __version__
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
