"""A password that is easy to recognise, whole or in pieces, in any escaping."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, quote_plus

# Characters that URIs, conninfos, password files and Python's literals each escape differently.
CANARY = "c@n/a%r y'\"\\é:#Zq9!"
PIECE = 6  # characters; a shorter piece may occur by chance


def _spellings(secret: str) -> set[str]:
    percent = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return {
        secret,
        *percent,
        *(re.sub(r"%..", lambda found: found[0].lower(), text) for text in percent),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
        secret.replace("\\", "\\\\").replace("'", "\\'"),  # in a conninfo
        secret.replace("\\", "\\\\").replace(":", "\\:"),  # in a password file
        secret.replace("'", "''"),  # in SQL
        secret.encode().decode("latin-1"),
    }


_PIECES = {
    text[start : start + PIECE]
    for text in _spellings(CANARY)
    for start in range(len(text) - PIECE + 1)
}


def traces(*texts: str) -> list[str]:
    """Return where pieces of the canary occur in these texts, with what is around them."""
    return [
        text[max(0, text.index(piece) - 80) : text.index(piece) + 40]
        for text in texts
        for piece in _PIECES
        if piece in text
    ]
