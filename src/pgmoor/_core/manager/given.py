"""What the integrations are given: a manager, and not the conninfo that one is made of."""

from __future__ import annotations

from pgmoor._core.settings.mistakes import shown

from .manager import ConnectionManager


def require_manager_or_name(value: object, whose: str) -> None:
    """Raise `TypeError` for anything but a manager, a manager's name or None."""
    if value is None or isinstance(value, ConnectionManager):
        return
    if not isinstance(value, str) or "://" in value:
        given = "a connection string" if isinstance(value, str) else shown(value)
        raise TypeError(f"{whose} needs a ConnectionManager or the name of one, not {given}")


def require_manager(value: object, whose: str) -> None:
    """Raise `TypeError` for anything but a manager."""
    if not isinstance(value, ConnectionManager):
        raise TypeError(f"{whose} needs a ConnectionManager, not {shown(value)}; make one first")
