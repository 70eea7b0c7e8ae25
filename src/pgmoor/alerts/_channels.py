"""The channels: Apprise behind one small interface. Only this module imports Apprise.

A URL is kept in a closure, which no repr, log line or traceback shows.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote

from pgmoor._core.util.redaction import LONGEST, MASK, first_line, pieces_of, redact
from pgmoor.errors import ConfigError

from ._apprise_logs import captured

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence

    from apprise import NotifyBase

    from ._kinds import Message

DETAIL = "Socket Exception: "  # Apprise's plugins log the text of an exception so, at DEBUG
MAIL_ADDRESS = re.compile(r"[^@\s]+@[\w-]+(\.[\w-]+)+")


class Channel(Protocol):
    """Sends messages to one destination."""

    @property
    def label(self) -> str:
        """Its name in logs, without secrets."""

    def send(self, message: Message) -> str | None:
        """Send a message, blocking the calling thread; return why that failed, or None."""


class AppriseChannel:
    """The destination of one Apprise URL."""

    __slots__ = ("_send", "label")

    def __init__(self, label: str, send: Callable[[Message], str | None]) -> None:
        self.label = label
        self._send = send

    def __repr__(self) -> str:
        return f"<channel {self.label}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a channel can't be pickled: its URL may contain a password")

    def send(self, message: Message) -> str | None:
        """Send a message, blocking the calling thread; return why that failed, or None."""
        return self._send(message)


def make_channels(urls: Sequence[str]) -> tuple[AppriseChannel, ...]:
    """Return a channel for each URL; raise `ConfigError` for the first that can't be used."""
    try:
        with captured():
            import apprise  # noqa: F401, PLC0415  an extra, which takes 0.1 s to load
    except ModuleNotFoundError:
        raise ConfigError(
            "alerts", "Apprise is not installed", 'run: pip install "pgmoor[alerts]"'
        ) from None
    with captured():
        return tuple(_make_channel(number, url) for number, url in enumerate(urls, start=1))


def _make_channel(number: int, url: str) -> AppriseChannel:
    plugin = _plugin(url)
    scheme = _scheme(url)
    if plugin is not None:
        return AppriseChannel(f"{scheme} ({number})", _sender(plugin, secrets_of(plugin, url)))
    if scheme is None:
        raise ConfigError(
            "alerts",
            f"channel {number} does not begin with a scheme that Apprise knows",
            "write it as in Apprise's documentation of the service, such as mailtos://...",
        )
    raise ConfigError(
        "alerts",
        f"channel {number} ({scheme}) is incomplete or invalid",
        f"write it as in Apprise's documentation of {scheme}://, and percent-encode special"
        " characters in passwords",
    )


def _plugin(url: str) -> NotifyBase | None:
    from apprise import Apprise, AppriseAsset, NotifyBase  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from what the plugins import
        asset = AppriseAsset(app_id="pgmoor", app_desc="pgmoor", app_url="")
        plugin = Apprise.instantiate(url, asset=asset)
    if not isinstance(plugin, NotifyBase):
        return None
    # Apprise sleeps up to 5.5 s between two messages. Ours are few, and `close()` must be quick.
    plugin.request_rate_per_sec = 0
    return plugin


def _scheme(url: str) -> str | None:
    """Return the scheme if Apprise knows it; an unknown one may be part of a password."""
    from apprise import NotificationManager  # noqa: PLC0415

    scheme = url.partition("://")[0].strip().lower()
    known = NotificationManager()  # type: ignore[no-untyped-call]
    return scheme if "://" in url and scheme in known else None


def _sender(
    plugin: NotifyBase, secrets: tuple[frozenset[str], ...]
) -> Callable[[Message], str | None]:
    from apprise import NotifyFormat, NotifyType  # noqa: PLC0415

    libraries = frozenset(plugin.runtime_deps())  # type: ignore[no-untyped-call]

    def send(message: Message) -> str | None:
        failure: str | None = None
        with captured(libraries) as records:
            try:
                sent = plugin.notify(
                    body=message.text,
                    title=message.title,
                    notify_type=NotifyType(message.severity),
                    body_format=NotifyFormat.TEXT,
                )
            except Exception as error:  # noqa: BLE001  its text may contain the URL
                sent, failure = False, type(error).__name__
        return None if sent else failure or reason_in(records, secrets)

    return send


def reason_in(records: Iterable[logging.LogRecord], secrets: Iterable[frozenset[str]]) -> str:
    """Return what Apprise logged about a failure, without any secret part of the URL."""
    texts = (_shortened(record.getMessage()) for record in records if _gives_reason(record))
    reason = "; ".join(dict.fromkeys(texts))
    reason = re.sub(r"\b\w+://\S+", MASK, reason[: 10 * LONGEST])
    return first_line(redact(reason, secrets)) or "Apprise could not send it"


def _gives_reason(record: logging.LogRecord) -> bool:
    if record.name != "apprise":
        return False
    # Other DEBUG records may contain whole requests and responses.
    return record.levelname in {"WARNING", "ERROR"} or str(record.msg).startswith(DETAIL)


def _shortened(text: str) -> str:
    """Return Apprise's text on one line; of urllib3's nested errors, only the innermost one."""
    text = " ".join(text.replace(DETAIL, "").split())
    _, caused, cause = text.partition("(Caused by ")
    if caused:
        text = re.sub(r"HTTPS?Connection(Pool)?\(.*?\): ", "", cause)
    return text.rstrip(".)")


def secrets_of(plugin: NotifyBase, url: str) -> tuple[frozenset[str], ...]:
    """Return the pieces of a URL to be redacted: all but server names and mail addresses.

    Many services expect a token in place of the server's name.
    """
    path, _, query = url.partition("://")[2].partition("?")
    server, _, rest = path.partition("/")
    parts = {*re.split(r"[:@,]", server.rpartition("@")[2]), *rest.split("/")}
    parts.update(value for _, value in parse_qsl(query))
    parts.update(part for part in (plugin.user, plugin.password) if part)
    parts.update([unquote(part) for part in parts])
    public = {"starttls", "markdown", "localhost", str(plugin.port)}
    if not plugin.template_tokens.get("host", {"private": True}).get("private"):
        public |= {plugin.host, getattr(plugin, "smtp_host", "")}
    return tuple(pieces_of(part) for part in parts - public if not MAIL_ADDRESS.fullmatch(part))
