"""Who holds a descriptor that should be closed: its object, and what refers to that."""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from types import FrameType
from typing import Any

from psycopg import pq

DEPTH = 6
MOST = 4  # referrers that are shown of each object


def holders(name: str) -> str:
    """Return what holds the descriptor that the kernel knows by this name, for people to read."""
    number = next((number for number, known in descriptors().items() if known == name), -1)
    objects = gc.get_objects()
    known = {id(each) for each in objects}  # not what is made for the search itself
    found = [each for each in objects if _number(each) == number]
    chains = [_chain(each, known) for each in found] or ["no object of Python's"]
    del objects, found
    gc.collect()
    garbage = name not in descriptors().values()
    return "; ".join(chains) + (" (garbage in a cycle)" if garbage else "")


def descriptors() -> dict[int, str]:
    """Return the open files of this process, as the kernel names them, by their numbers."""
    names = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            names[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:  # the one that lists them
            continue
    return names


def _number(each: Any) -> int | None:
    try:
        if isinstance(each, socket.socket):
            return each.fileno()
        if isinstance(each, pq.PGconn | pq.PGcancelConn):
            return each.socket
    except Exception:  # noqa: BLE001  one that is closed
        return None
    return None


def _chain(each: Any, known: set[int]) -> str:
    shown, level, seen = [], [each], {id(each)}
    for _ in range(DEPTH):
        shown.append(", ".join(_label(one) for one in level[:MOST]))
        above = [
            one
            for held in level[:MOST]
            for one in gc.get_referrers(held)
            if id(one) in known and id(one) not in seen and not isinstance(one, FrameType)
        ]
        seen |= {id(one) for one in above}
        level = above
        if not level:
            break
    return " < ".join(shown)


def _label(each: Any) -> str:
    if isinstance(each, dict):
        return f"dict({', '.join(map(str, list(each)[:6]))})"
    return f"{type(each).__name__} {str(each)[:80]}" if not isinstance(each, list) else "list"
