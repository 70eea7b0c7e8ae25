"""What an error means for the host it came from (SQLSTATE, libpq's fixed texts, the kernel's word).

Pure: it names the kind of failure. What is done about it is decided elsewhere.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from enum import Enum

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY_SQL_TRANSACTION = "25006"
OUTCOME_UNKNOWN = frozenset({"40003", "08007"})

MOST_TEXT = 4000  # characters of what a server says that are looked at; it may say any number


class FailureKind(Enum):
    """Why a host could not be asked, or refused to answer."""

    REFUSED = "refused"  # the kernel answered: nobody listens, or no route
    RESET = "reset"  # the connection was made, then cut
    TIMEOUT = "timeout"  # no answer in time; the host may be frozen, or the network silent
    NAME = "name"  # the host name can't be resolved
    STARTING = "starting"  # 57P03: starting up, shutting down or recovering
    SATURATED = "saturated"  # 53300: no connection slot free; the host works
    RESOURCES = "resources"  # other 53*, 58*: out of disk, memory, or an I/O error
    CREDENTIALS = "credentials"  # 28P01, 28000: the server turns us away
    CONFIGURATION = "configuration"  # 3D000, 42501, certificates: a person must act
    PROTOCOL = "protocol"  # whatever answers there is not PostgreSQL
    SOURCE = "source"  # a callable that was asked how to connect gave no answer
    ROLE = "role"  # it answers, but is not what the target asks for
    OTHER = "other"


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
    "53300": FailureKind.SATURATED,  # too_many_connections
    "28P01": FailureKind.CREDENTIALS,  # invalid_password
    "28000": FailureKind.CREDENTIALS,  # invalid_authorization_specification
    "3D000": FailureKind.CONFIGURATION,  # invalid_catalog_name
    "42501": FailureKind.CONFIGURATION,  # insufficient_privilege
}
_BY_CLASS: dict[str, FailureKind] = {
    "08": FailureKind.RESET,
    "53": FailureKind.RESOURCES,
    "58": FailureKind.RESOURCES,
}

# A failed connect carries no SQLSTATE: libpq hands over text only. The texts of libpq and of the
# C library are not translated unless the program calls setlocale(); the server's are written in
# its lc_messages, so each row that depends on them names more than one anchor where it can.
# Checked against the messages of PostgreSQL 16 and 18 in tests/test_sqlstate.py.
_BY_TEXT: tuple[tuple[FailureKind, str], ...] = (
    (
        FailureKind.CREDENTIALS,
        (
            r"password authentication failed|no password supplied|authentication failed"
            r"|no pg_hba\.conf entry|pg_hba\.conf rejects|valid client certificate"
            r"|role \".*\" (does not exist|is not permitted to log in)"
            r"|SASL authentication|SCRAM authentication|server requested a hashed password"
            r"|authentication method .* requirement"
        ),
    ),
    (
        FailureKind.STARTING,
        (
            r"the database system is (starting up|shutting down|in recovery mode"
            r"|not yet accepting connections|not accepting connections)"
        ),
    ),
    (
        FailureKind.SATURATED,
        (
            r"too many clients already|remaining connection slots are reserved"
            r"|too many connections for (role|database)|no more connections allowed"
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
            # How the other side's TLS says no, mostly to our certificate.
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
            r"|^its answer (has no end|is none to the question|to a health check makes no sense)$"
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


def kind_of_sqlstate(sqlstate: str) -> FailureKind:
    """Return the kind of failure that a SQLSTATE of the server stands for."""
    kind = _BY_SQLSTATE.get(sqlstate)
    return kind or _BY_CLASS.get(sqlstate[:2], FailureKind.OTHER)


def kind_of_text(text: str) -> FailureKind:
    """Return the kind of failure that the text of a failed connect stands for."""
    for kind, pattern in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    return FailureKind.OTHER


def classify(error: BaseException) -> FailureKind:
    """Return the kind of failure that *error* stands for, raised while a host was dialled or asked.

    A SQLSTATE wins over the text, as texts are translated.
    """
    if isinstance(error, TimeoutError):
        return FailureKind.TIMEOUT
    if isinstance(error, socket.gaierror):
        return FailureKind.NAME
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        return kind_of_sqlstate(sqlstate)
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return FailureKind.REFUSED
    return kind_of_text(str(error)[:MOST_TEXT])


def is_wrong_password(error: BaseException) -> bool:
    """Return whether a server does not take these credentials, wherever they come from.

    A line of pg_hba.conf may turn them away at one address of a server only.
    """
    return (
        classify(error) is FailureKind.CREDENTIALS and "pg_hba.conf" not in str(error)[:MOST_TEXT]
    )


# The address stands in the host's label already; libpq's hints fill further lines.
_PREFIX = re.compile(
    r"^(connection (failed|is bad): )?(connection to server (at|on) .*? failed: )?(FATAL: +)?"
)


def describe_failure(error: BaseException) -> Failure:
    """Return what *error* means, in the words of its first line.

    The text is the server's or libpq's: secrets are to be taken out of it before it is shown.
    """
    lines = str(error)[:MOST_TEXT].splitlines() or [type(error).__name__]
    return Failure(classify(error), _PREFIX.sub("", lines[0]).strip())
