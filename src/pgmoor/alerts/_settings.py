"""`Alerts`: the settings of alerts, validated once. No text shows the channels' URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast, get_args

from pgmoor._core.settings.mistakes import meant_among, shown
from pgmoor._core.settings.validation import check_duration, is_count
from pgmoor.errors import ConfigError

from ._channels import make_channels
from ._kinds import SEVERITIES, AlertRules, Kind, Severity
from ._outbox import Limits
from ._service import AlertService

if TYPE_CHECKING:
    from pgmoor._core.reporting.listeners import Listeners
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.util.secrets import Hidden

    from ._channels import Channel


class Alerts:
    """Where to send alerts, and what to send. All durations are in seconds.

    You can pass one object to several managers.

    Args:
        channels: Apprise URLs, such as `"mailtos://user:password@smtp.example.com"` or
            `"slack://..."`. They are secrets: pgmoor shows no more of them than the scheme.
        after: How long an outage, a stall, a rejected login, a host that is down or dials that fail
            must last before you get a message. You don't hear of shorter ones, unless more than
            `burst` of them come within `digest`.
        remind: The time between reminders of trouble that lasts; None for no reminders.
        digest: The time between summaries of trouble that happens again and again.
        burst: How many separate alerts of one kind to send within `digest` seconds before
            switching to summaries.
        severities: Your severities by kind, instead of the defaults: info, success, warning or
            failure; None turns a kind off.
        send_timeout: The timeout of one attempt to send a message over a channel.
        retry_for: How long to retry a message that a channel does not accept.
        max_queue: How many messages may wait for a channel; beyond that, the oldest is dropped.

    Raises:
        ConfigError: A setting or a URL is not usable, or Apprise is not installed. The error names
            a URL by its position in the list.
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
        check_duration("after", after, may_be_zero=True)
        if remind is not None:
            check_duration("remind", remind)
        check_duration("digest", digest)
        check_duration("send_timeout", send_timeout)
        check_duration("retry_for", retry_for, may_be_zero=True)
        _check_count("burst", burst)
        _check_count("max_queue", max_queue)
        self._rules = AlertRules(after, remind, digest, burst, _all_severities(severities))
        self._limits = Limits(send_timeout, retry_for, max_queue)
        self._channels: tuple[Channel, ...] = ()
        try:
            self._channels = make_channels(_checked_urls(channels))
        except ConfigError as error:
            # Some tracebacks print the variables of this frame and of those below.
            del channels
            error.__context__ = None
            raise error.with_traceback(None) from None

    def __repr__(self) -> str:
        return f"<Alerts {', '.join(self.channels)}>"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels' names in logs: the scheme, and the position in the list from 1."""
        return tuple(channel.label for channel in self._channels)


def watch(alerts: Alerts, settings: Settings, listeners: Listeners) -> AlertService:
    """Start to send alerts about one manager."""
    parts = alerts._rules, alerts._limits, alerts._channels  # noqa: SLF001  for pgmoor's own use
    return AlertService(*parts, settings, listeners)


def make_alerts(given: Hidden[Alerts | Sequence[str] | None]) -> Alerts:
    """Return `Alerts` for the manager's argument `alerts`; raise `ConfigError`."""
    value = given.reveal()
    if isinstance(value, Alerts):
        return value
    del value  # some tracebacks print the variables of each frame
    return Alerts(given.reveal())  # type: ignore[arg-type]  # checked there


def _checked_urls(channels: object) -> tuple[str, ...]:
    remedy = 'give a list: ["mailtos://user:password@smtp.example.com"]'
    if isinstance(channels, str) or not isinstance(channels, Sequence):
        raise ConfigError("alerts", f"{shown(channels)} is not a list of URLs", remedy)
    if not channels:
        raise ConfigError("alerts", "the list is empty", f"{remedy}, or None for no alerts")
    for number, channel in enumerate(channels, start=1):
        if not isinstance(channel, str):
            raise ConfigError("alerts", f"channel {number} is {shown(channel)}", remedy)
    return tuple(channels)


def _all_severities(changes: object) -> Mapping[Kind, Severity | None]:
    if changes is None:
        return SEVERITIES
    if not isinstance(changes, Mapping):
        raise ConfigError(
            "severities",
            f"{shown(changes)} is not a mapping",
            'give one, such as {"failback": None}',
        )
    for kind, value in changes.items():
        if kind not in get_args(Kind):
            hint = meant_among(kind, get_args(Kind))
            raise ConfigError(
                "severities", "unknown kind", f"use {', '.join(get_args(Kind))}{hint}"
            )
        if not (value is None or value in get_args(Severity)):
            hint = meant_among(value, get_args(Severity))
            words = ", ".join(get_args(Severity))
            raise ConfigError("severities", "unknown severity", f"give {words} or None{hint}")
    return MappingProxyType({**SEVERITIES, **cast("Mapping[Kind, Severity | None]", changes)})


def _check_count(name: str, value: object) -> None:
    if not is_count(value, 1):
        what = f"{shown(value)} is not a usable count"
        raise ConfigError(name, what, "give a whole number, 1 or more")
