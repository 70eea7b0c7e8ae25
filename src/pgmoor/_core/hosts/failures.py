"""What an error means for its host, by SQLSTATE, by libpq's fixed texts or the kernel's.

Pure: it names the kind of failure. What is done about it is decided elsewhere.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from enum import Enum

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY_SQL_TRANSACTION = "25006"
PROTOCOL_VIOLATION = "08P01"
OUTCOME_UNKNOWN = frozenset({"40003", "08007"})

MAX_TEXT = 4000  # characters of an error that are read; a server may send any number


class FailureKind(Enum):
    """Why a host could not be asked, or did not answer as wanted."""

    REFUSED = "refused"  # by the kernel: no listener, or no route
    RESET = "reset"  # the connection was made, then cut
    TIMEOUT = "timeout"  # no answer in time; the host may be frozen, or the network silent
    NAME = "name"  # the host name can't be resolved
    STARTING = "starting"  # 57P03: starting up, shutting down or recovering
    SATURATED = "saturated"  # 53300: no connection slot free; the host works
    RESOURCES = "resources"  # other 53*, 58*: out of disk, memory, or an I/O error
    CREDENTIALS = "credentials"  # 28P01, 28000: the server rejects our login
    CONFIGURATION = "configuration"  # 3D000, 42501, certificates: a person must act
    PROTOCOL = "protocol"  # what answers is not PostgreSQL
    SOURCE = "source"  # a callable for the credentials returned nothing
    ROLE = "role"  # it answers, but does not satisfy the target
    UNWILLING = "unwilling"  # it refuses a new session for a reason that means none of these
    STATEMENT = "statement"  # a statement of ours failed, and its session lives
    UNANSWERED = "unanswered"  # a question waits, while other things were heard of the host
    OTHER = "other"  # nothing shows that the host answered


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt to reach a host: its kind, and a text that is safe to show."""

    kind: FailureKind
    text: str

    def __str__(self) -> str:
        return self.text


_BY_SQLSTATE: dict[str, FailureKind] = {
    "57P01": FailureKind.RESET,  # admin_shutdown
    "57P02": FailureKind.RESET,  # crash_shutdown
    "57P03": FailureKind.STARTING,  # cannot_connect_now
    "57P04": FailureKind.CONFIGURATION,  # database_dropped
    "57P05": FailureKind.RESET,  # idle_session_timeout
    "25P03": FailureKind.RESET,  # idle_in_transaction_session_timeout
    "53300": FailureKind.SATURATED,  # too_many_connections
    "28P01": FailureKind.CREDENTIALS,  # invalid_password
    "28000": FailureKind.CREDENTIALS,  # invalid_authorization_specification
    "3D000": FailureKind.CONFIGURATION,  # invalid_catalog_name
    "42501": FailureKind.CONFIGURATION,  # insufficient_privilege
    "42704": FailureKind.CONFIGURATION,  # undefined_object: a parameter that it does not know
    "22023": FailureKind.CONFIGURATION,  # invalid_parameter_value
    "55000": FailureKind.CONFIGURATION,  # the database accepts no connections
}
_BY_CLASS: dict[str, FailureKind] = {
    "08": FailureKind.RESET,
    "28": FailureKind.CREDENTIALS,
    "53": FailureKind.RESOURCES,
    "58": FailureKind.RESOURCES,
}

# What libpq and the kernel say carries no SQLSTATE. Their texts are not translated unless the
# program calls setlocale(). A server's are written in its lc_messages: those below matter only
# where its SQLSTATE is not known (see `connection.handshake`) or is the one that PgBouncer gives
# to nearly everything.
# Checked against the messages of PostgreSQL 16 and 18 in tests/hosts/test_failures.py.
_BY_TEXT: tuple[tuple[FailureKind, str], ...] = (
    (
        FailureKind.CREDENTIALS,
        (
            r"password authentication failed|no password supplied|authentication failed"
            r"|no pg_hba\.conf entry|pg_hba\.conf rejects|valid client certificate"
            r"|role \".*\" (does not exist|is not permitted to log in)"
            r"|SASL authentication|SCRAM authentication|server requested a hashed password"
            r"|login rejected|no such user"
        ),
    ),
    (
        FailureKind.STARTING,
        (
            r"the database system is (starting up|shutting down|in recovery mode"
            r"|not yet accepting connections|not accepting connections)|pooler is (shut|suspend)"
        ),
    ),
    (
        FailureKind.SATURATED,
        (
            r"too many clients already|remaining connection slots are reserved"
            r"|too many connections for (role|database)|no more connections allowed"
            r"|query_wait_timeout|bouncer resources exhaustion"
        ),
    ),
    (
        FailureKind.CONFIGURATION,
        (
            r"database \".*\" does not exist|certificate verify failed|server certificate for"
            r"|root certificate file|certificate file|private key file"
            r"|server does not support SSL|sslmode value|permission denied for database"
            r"|is not currently accepting connections|unrecognized configuration parameter"
            r"|invalid value for parameter|unknown ca|host name must be specified"
            r"|authentication method requirement|channel binding (is )?required"
            r"|server did not request an SSL certificate|without a valid SSL certificate"
            r"|authentication mechanisms are supported|authentication over a non-SSL connection"
            r"|no such database|database does not allow connections|bouncer config error"
            r"|(SSL|TLS connection|TLS client certificate) required|unsupported startup parameter"
            # Alerts of the other side's TLS, mostly about our certificate.
            r"|alert (bad |unsupported )?certificate|alert (handshake failure|protocol version)"
            r"|alert (access denied|decrypt error|insufficient security|no application protocol)"
            r"|unrecognized name|unsupported protocol|without ALPN|authentication .*not supported"
        ),
    ),
    (
        FailureKind.NAME,
        (
            r"failed to resolve host|could not translate host name|Name or service not known"
            r"|nodename nor servname"
        ),
    ),
    (
        FailureKind.REFUSED,
        (
            r"Connection refused|No such file or directory|No route to host|Network is unreachable"
            r"|Host is down"
        ),
    ),
    (
        FailureKind.PROTOCOL,
        (
            r"received invalid (response|authentication request|error message|protocol negotiation)"
            r"|error response during SSL exchange|wrong version number|unencrypted data after SSL"
            r"|expected authentication request|invalid message"
            r"|unsupported frontend protocol|message contents do not agree"
            r"|received an unencrypted data|lost synchronization"
            r"|^its answer (has no end|does not fit the question|to a health check makes no sense)$"
        ),
    ),
    (
        FailureKind.TIMEOUT,
        r"timeout expired|Connection timed out|Operation timed out",
    ),
    (
        FailureKind.RESET,
        (
            r"Connection reset by peer|server closed the connection unexpectedly|Broken pipe"
            r"|SSL connection has been closed|SSL SYSCALL error|unexpected eof while reading"
            r"|connection socket closed"
            r"|terminating connection|connection is closed|could not (send|receive) data"
            r"|connection pointer is NULL|no connection to the server"
        ),
    ),
)
_OF_LOGINS = frozenset({FailureKind.CREDENTIALS, FailureKind.CONFIGURATION, FailureKind.UNWILLING})
_SAYS_NOTHING = frozenset({FailureKind.UNWILLING, FailureKind.OTHER})
# libpq writes an error that a server sent as its severity, which may be translated, and its text.
_SENT = r"[^\n:]{1,30}:  "
_SENT_BY_A_SERVER = re.compile(rf"failed: {_SENT}")


def kind_of_sqlstate(sqlstate: str) -> FailureKind:
    """Return the kind of failure that a SQLSTATE means."""
    kind = _BY_SQLSTATE.get(sqlstate)
    return kind or _BY_CLASS.get(sqlstate[:2], FailureKind.UNWILLING)


def kind_of_text(text: str) -> FailureKind:
    """Return the kind of failure that the text of a failed connect means."""
    for kind, pattern in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    return FailureKind.UNWILLING if _SENT_BY_A_SERVER.search(text) else FailureKind.OTHER


def classify(error: BaseException) -> FailureKind:
    """Return the kind of failure that an error of a dial or a probe means.

    A SQLSTATE wins over the text, as texts are translated. PgBouncer's is nearly always 08P01,
    so its text says more. What a statement has met (one of `configure`, for example) does not mean
    that logins are rejected.
    """
    if isinstance(error, TimeoutError):
        return FailureKind.TIMEOUT
    if isinstance(error, socket.gaierror):
        return FailureKind.NAME
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return FailureKind.REFUSED
    said = kind_of_text(str(error)[:MAX_TEXT])
    if not sqlstate:
        return said
    kind = kind_of_sqlstate(sqlstate)
    if getattr(error, "pgresult", None) is not None and kind in _OF_LOGINS:
        return FailureKind.STATEMENT
    vague = kind is FailureKind.UNWILLING or sqlstate == PROTOCOL_VIOLATION
    return said if vague and said not in _SAYS_NOTHING else kind


def is_wrong_password(error: BaseException) -> bool:
    """Return whether a server rejects these credentials, from whatever address they come.

    A line of pg_hba.conf may reject them at one address of a server only.
    """
    return classify(error) is FailureKind.CREDENTIALS and "pg_hba.conf" not in str(error)[:MAX_TEXT]


# The host's label has the address already; libpq's hints are on further lines.
_PREFIX = re.compile(
    r"^(connection (failed|is bad): )?(connection to server (at|on) .*? failed: )?"
    rf"(FATAL: +|{_SENT})?"
)


def describe_failure(error: BaseException) -> Failure:
    """Return what *error* means, with its first line as text.

    The text is the server's or libpq's, and may hold a secret.
    """
    lines = str(error)[:MAX_TEXT].splitlines() or [type(error).__name__]
    return Failure(classify(error), _PREFIX.sub("", lines[0]).strip())
