"""Takes secrets out of texts from elsewhere, and makes these fit to be shown. Pure.

A server may send back what it was given: a password, whole or in part, escaped or not.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK = "********"
PIECE = 6  # characters; a shorter piece of a secret may occur in a text by chance
SHORTEST = 4  # characters; asterisks in place of a shorter secret would reveal it
LONGEST = 300  # characters of a text that are shown

SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key")

# Words of the fixed texts of libpq and the server. Where the password is one of them, asterisks in
# its place would reveal it.
_FIXED_WORDS = """
password authentication failed for user
fe_sendauth: no password supplied
could not connect to server: Connection refused. Is the server running on that host
and accepting TCP/IP connections on that socket? No such file or directory
server closed the connection unexpectedly
no pg_hba.conf entry for host, user, database, no encryption, SSL encryption
the database system is starting up, is shutting down, is in recovery mode
database does not exist, role does not exist, role is not permitted to log in
sorry, too many clients already; remaining connection slots are reserved for roles
SSL error: certificate verify failed; server certificate for does not match host name
root certificate file does not exist; server does not support SSL, but SSL was required
unrecognized configuration parameter; invalid value for parameter; permission denied
failed to resolve host: Name or service not known; no answer within
terminating connection due to administrator command; connection timeout expired
"""
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_OPTION = re.compile(r"=((?:\\.|[^\s\\])+)")


def secrets_among(params: Mapping[str, str]) -> set[str]:
    """Return the secret values among libpq's parameters, those of `options` included."""
    found = {value for name in SECRET_PARAMETERS if (value := params.get(name))}
    for text in _OPTION.findall(params.get("options", "")):
        value = re.sub(r"\\(.)", r"\1", text)
        if len(value) >= PIECE:  # a shorter one is a number, on or off
            found |= {value, text}
    return found


def secret_arguments(arguments: Mapping[str, object]) -> set[str]:
    """Return the values whose names say that they are secrets, among a program's own arguments."""
    return {
        value
        for name, value in arguments.items()
        if isinstance(value, str) and value and _SECRET_NAME.search(name)
    }


def pieces_of(secret: str) -> frozenset[str]:
    """Return the pieces that reveal a secret: six characters each, in every common escaping."""
    percent = {quote(secret, "", errors="replace"), quote_plus(secret, errors="replace")}
    percent |= {quote(secret, errors="replace")}
    encoded = secret.encode(errors="replace")
    spellings = {
        secret,
        *percent,
        *(re.sub(r"%..", lambda found: found[0].lower(), text) for text in percent),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(encoded)[2:-1],
        encoded.decode("latin-1"),
        json.dumps(secret)[1:-1],
        secret.replace("\\", "\\\\").replace("'", "\\'"),
        secret.replace("\\", "\\\\").replace(":", "\\:"),
        secret.replace("'", "''"),
    }
    return frozenset(
        piece
        for text in spellings
        for start in range(max(len(text) - PIECE, 0) + 1)
        if len(piece := text[start : start + PIECE]) >= SHORTEST and piece not in _FIXED_WORDS
    )


def redact(text: str, pieces: Iterable[frozenset[str]]) -> str:
    """Return *text* with every piece of a secret replaced by asterisks."""
    known = frozenset().union(*pieces)
    sizes = {len(piece) for piece in known}
    shown = []
    position = masked_until = 0
    while position < len(text):
        ends = [size for size in sizes if text[position : position + size] in known]
        if ends:
            if masked_until <= position:
                shown.append(MASK)
            masked_until = max(masked_until, position + max(ends))
        if masked_until <= position:
            shown.append(text[position])
        position += 1
    # Two pieces side by side are one secret.
    return "".join(shown).replace(MASK * 2, MASK)


def first_line(text: str) -> str:
    """Return the first line of *text*, shortened, without control characters."""
    line = next(iter(text[: 10 * LONGEST].splitlines()), "")
    clean = "".join(letter if letter.isprintable() else "?" for letter in line).strip()
    return clean if len(clean) <= LONGEST else f"{clean[: LONGEST - 1]}…"
