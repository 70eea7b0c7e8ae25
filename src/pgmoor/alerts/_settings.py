"""`Alerts`: the settings of alerts, validated once; the channels' URLs never print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast, get_args

from pgmoor.errors import ConfigError

from ._channels import make_channels
from ._kinds import SEVERITIES, AlertRules, Kind, Severity
from ._outbox import Limits
from ._service import AlertService

if TYPE_CHECKING:
    from pgmoor.config import Settings
    from pgmoor.hidden import Hidden
    from pgmoor.listeners import Listeners

    from ._channels import Channel


class Alerts:
    """Where alerts go, and what is worth one. All durations are in seconds.

    Can be given to several managers.

    Args:
        channels: URLs of Apprise, such as `"mailtos://user:password@smtp.example.com"` or
            `"slack://..."`. They are secrets: no text of pgmoor shows more than their scheme.
        after: An outage, a stall or a rejection is told when it has lasted for so long; a
            shorter one is not.
        remind: What was told and still lasts is told again each time so long has passed; None
            for never.
        digest: When the same happens again and again, it is told once in so long.
        burst: How many times in `digest` seconds the same is told by itself before that.
        severities: Severities by kind of alert, for those that are to differ from the defaults:
            info, success, warning or failure; None leaves a kind out.
        send_timeout: For one attempt to send a message over a channel.
        retry_for: For how long a message that a channel does not take is tried again.
        max_queue: How many messages wait for a channel at most; then the oldest is dropped.

    Raises:
        ConfigError: A setting or a URL can't be used, or Apprise is not installed. The URL is
            named by its place in the list.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        after: float = 5.0,
        remind: float | None = 1800.0,
        digest: float = 600.0,
        burst: int = 3,
        severities: Mapping[Kind, Severity | None] | None = None,
        send_timeout: float = 30.0,
        retry_for: float = 3600.0,
        max_queue: int = 100,
    ) -> None:
        _duration("after", after, least=0)
        if remind is not None:
            _duration("remind", remind)
        _duration("digest", digest)
        _duration("send_timeout", send_timeout)
        _duration("retry_for", retry_for, least=0)
        _count("burst", burst)
        _count("max_queue", max_queue)
        self._rules = AlertRules(after, remind, digest, burst, _merged(severities))
        self._limits = Limits(send_timeout, retry_for, max_queue)
        self._channels: tuple[Channel, ...] = ()
        try:
            self._channels = make_channels(_listed(channels))
        except ConfigError as error:
            # A traceback that prints variables prints those of this frame, and of those below.
            del channels
            error.__context__ = None
            raise error.with_traceback(None) from None

    def __repr__(self) -> str:
        return f"<Alerts {', '.join(self.channels)}>"

    @property
    def channels(self) -> tuple[str, ...]:
        """How logs name the channels: the scheme and the place in the list, from 1."""
        return tuple(channel.label for channel in self._channels)

    def watch(self, settings: Settings, listeners: Listeners) -> AlertService:
        """Begin to tell of one manager's events; for the manager's own use."""
        return AlertService(self, settings, listeners)

    @property
    def rules(self) -> AlertRules:
        """What is worth an alert."""
        return self._rules

    @property
    def limits(self) -> Limits:
        """How long and how often a channel is tried."""
        return self._limits

    @property
    def outlets(self) -> tuple[Channel, ...]:
        """The channels themselves."""
        return self._channels


def make_alerts(given: Hidden[Alerts | Sequence[str] | None]) -> Alerts:
    """Return what the manager's argument `alerts` stands for; raise `ConfigError`."""
    value = given.reveal()
    if isinstance(value, Alerts):
        return value
    del value  # a traceback that prints variables prints those of this frame, too
    return Alerts(given.reveal())  # type: ignore[arg-type] # looked at there


def _listed(channels: object) -> tuple[str, ...]:
    remedy = 'give a list: ["mailtos://user:password@smtp.example.com"]'
    if isinstance(channels, str) or not isinstance(channels, Sequence):
        raise ConfigError("alerts", "it is not a list of URLs", remedy)
    if not channels:
        raise ConfigError("alerts", "it names no channel", f"{remedy}, or None for no alerts")
    for number, channel in enumerate(channels, start=1):
        if not isinstance(channel, str):
            raise ConfigError("alerts", f"channel {number} is not a string", remedy)
    return tuple(channels)


def _merged(severities: object) -> Mapping[Kind, Severity | None]:
    if severities is None:
        return SEVERITIES
    if not isinstance(severities, Mapping):
        raise ConfigError("severities", "it is not a mapping", 'give {"failback": None}, say')
    if not set(severities) <= set(get_args(Kind)):
        raise ConfigError("severities", "unknown kind", f"use {', '.join(get_args(Kind))}")
    if not all(value is None or value in get_args(Severity) for value in severities.values()):
        words = ", ".join(get_args(Severity))
        raise ConfigError("severities", "unknown severity", f"give {words} or None")
    changed = cast("Mapping[Kind, Severity | None]", severities)
    return MappingProxyType({**SEVERITIES, **changed})


def _duration(name: str, value: object, least: float | None = None) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(cast("float", value)):
        raise ConfigError(name, "it is not a fitting duration", "give seconds")
    seconds = cast("float", value)
    if seconds < 0 or (seconds == 0 and least is None):
        bound = "more than 0" if least is None else "0 or more"
        raise ConfigError(name, "it is not a fitting duration", f"give seconds, {bound}")


def _count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(name, "it is not a count", "give 1 or more")
