"""An HTTP response that belongs to no framework."""

from __future__ import annotations

from typing import NamedTuple

OK = 200
UNAVAILABLE = 503


class Response(NamedTuple):
    """An HTTP response for any framework. `headers` includes Content-Type."""

    status_code: int
    content_type: str
    body: bytes
    headers: dict[str, str]
