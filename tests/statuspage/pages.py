"""Health reports for tests of the page, and a parser of its HTML."""

from __future__ import annotations

from html.parser import HTMLParser

from pgmoor.health import Health, HostHealth, PoolFigures

VOID = {"meta", "link", "path", "rect"}


def host(name: str = "db1:5432", **changes: object) -> HostHealth:
    """Return a primary in use, with *changes*."""
    values: dict[str, object] = {
        "host": name,
        "status": "up",
        "role": "primary",
        "writable": True,
        "timeline": 3,
        "latency": 0.00042,
        "lag": None,
        "current": True,
        "stale": False,
        "failure": None,
        **changes,
    }
    return HostHealth(**values)  # type: ignore[arg-type]


def health(*hosts: HostHealth, reason: str = "connected", name: str = "orders") -> Health:
    """Return the report of a manager that is ready."""
    return Health(
        live=True,
        ready=True,
        status="pass",
        state="ready",
        reason=reason,
        since=75.0,
        pool=PoolFigures(size=4, used=1, idle=3, min_size=4, max_size=8),
        hosts=hosts or (host(),),
        name=name,
        at=1_700_000_000.0,
    )


class Parsed(HTMLParser):
    """The elements and the text of a page. Fails if elements are not nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.labels = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data
