"""Passwords for one host, and passwords that expire: what your callable for `password` may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from .errors import ConfigError

__all__ = ["Host", "Token"]


@dataclass(frozen=True, slots=True)
class Host:
    """The host that a password is wanted for, as your list of hosts names it.

    Attributes:
        host: Its name, its address, or the directory of its socket.
        port: Its port.
        hostaddr: Its address, where the conninfo gives one beside the name; else None.
    """

    host: str
    port: int
    hostaddr: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A password that expires; your callable for `password` may return one.

    It is used for new connections until shortly before it expires: a minute, or a tenth of its life
    if that is less. Then your callable is called again. If that fails, the token is used until it
    expires. Its repr doesn't show the value.

    The instant is an aware `datetime`, and not a number: it can be confused neither with a
    lifetime, nor with milliseconds, nor with another clock or time zone.

    Attributes:
        value: The password.
        expires_at: When the server stops accepting it for new connections; an aware `datetime`.

    Raises:
        ConfigError: The value is no string, or the instant no aware `datetime`.
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
