"""An HTTP answer that belongs to no framework."""

from __future__ import annotations

from typing import NamedTuple

OK = 200
UNAVAILABLE = 503


class Response(NamedTuple):
    """An HTTP answer for any framework: status code, content type, body and all headers."""

    status_code: int
    content_type: str
    body: bytes
    headers: dict[str, str]
