"""The connection service file (libpq, section 32.17): a section of it as parameters."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from pgmoor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_BYTES = 1024 * 1024  # that are read of a service file


def read_service(service: str, path: str | None) -> dict[str, str]:
    """Return the parameters of a service; raise `ConfigError` when no file holds it.

    What is not UTF-8 in it comes as surrogates.
    """
    for place in _places(path):
        lines = _lines(place)
        if (found := _section(lines, service)) is not None:
            return found
    raise ConfigError(
        "service",
        "no service file that can be read holds a section of that name",
        "check the name, the files' permissions, PGSERVICEFILE and ~/.pg_service.conf",
    )


def _places(path: str | None) -> Iterator[Path]:
    if given := path or os.environ.get("PGSERVICEFILE"):
        yield Path(given)
    else:
        with suppress(RuntimeError):  # a user without a home
            yield Path.home() / ".pg_service.conf"
    if directory := os.environ.get("PGSYSCONFDIR"):
        yield Path(directory) / "pg_service.conf"


def _lines(place: Path) -> list[str]:
    try:
        if not S_ISREG(place.stat().st_mode):
            return []  # a pipe might never end
        with place.open("rb") as file:
            return file.read(MAX_BYTES).decode(errors="surrogateescape").splitlines()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []


def _section(lines: Sequence[str], name: str) -> dict[str, str] | None:
    found: dict[str, str] | None = None
    for raw in lines:
        line = raw.strip()
        if line.startswith("["):
            if found is not None:
                break
            if line == f"[{name}]":
                found = {}
        elif found is not None and line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            if not equals:
                raise ConfigError(
                    "service",
                    "a line of its section is not name=value",
                    "correct it; LDAP lookups aren't supported",
                )
            found.setdefault(key.strip(), value.strip())
    return found
