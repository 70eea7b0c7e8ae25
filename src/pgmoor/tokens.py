"""What your callable for `password` may take and return: a `Host`, and a `Token` that expires."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from .errors import ConfigError

__all__ = ["Host", "Token"]


@dataclass(frozen=True, slots=True)
class Host:
    """The host that needs a password, as your list of hosts names it.

    Attributes:
        host: Its name, its address, or the directory of its socket.
        port: Its port.
        hostaddr: Its address, if the conninfo gives one beside the name; else None.
    """

    host: str
    port: int
    hostaddr: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A password that expires; your callable for `password` may return one.

    The manager uses it for new connections until shortly before it expires: a minute, or a tenth of
    its life if that is less. Then it calls your callable again. If that fails, it uses the token
    until it expires. The token's repr doesn't show the value.

    `expires_at` is not a number, so that nobody mistakes it for a lifetime, milliseconds, or
    another clock or time zone.

    Attributes:
        value: The password.
        expires_at: When the server stops accepting it for new connections; an aware `datetime`.

    Raises:
        ConfigError: `value` isn't a string, or `expires_at` isn't an aware `datetime`.
    """

    value: str = field(repr=False)
    expires_at: datetime

    def __post_init__(self) -> None:
        """Check the types."""
        if not isinstance(self.value, str):
            raise ConfigError("password", "the value of its Token is not a string", "give a str")
        expires_at: object = self.expires_at
        if not isinstance(expires_at, datetime) or expires_at.utcoffset() is None:
            raise ConfigError(
                "password",
                "the expires_at of its Token is not an aware datetime",
                "give one with a time zone, such as datetime.now(UTC) + timedelta(minutes=15)",
            )
