"""Every way to give a program a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from canary import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def ways(folder: Path, **place: Any) -> dict[str, dict[str, Any]]:
    """Return the constructor's arguments, by the name of the way; none needs the environment.

    *place* holds host, port, user and dbname.
    """
    conninfo = " ".join(f"{name}={value}" for name, value in place.items())
    uri = "postgresql://{user}:{password}@{host}:{port}/{dbname}"
    quoted = CANARY.replace("\\", r"\\").replace("'", r"\'")

    async def coroutine_function() -> str:
        return CANARY

    return {
        "URI": {"conninfo": uri.format(password=quote(CANARY, ""), **place)},
        "URI's query": {
            "conninfo": "postgresql://{user}@{host}:{port}/{dbname}?password=".format(**place)
            + quote(CANARY, "")
        },
        "conninfo": {"conninfo": f"{conninfo} password='{quoted}'"},
        "keyword": {"conninfo": conninfo, "kwargs": {"password": CANARY}},
        "password": {"conninfo": conninfo, "password": CANARY},
        "function": {"conninfo": conninfo, "password": lambda: CANARY},
        "coroutine function": {"conninfo": conninfo, "password": coroutine_function},
        "callable keyword": {"conninfo": conninfo, "kwargs": {"password": lambda: CANARY}},
        "callable conninfo": {"conninfo": lambda: f"{conninfo} password='{quoted}'"},
        "callable keywords": {"conninfo": conninfo, "kwargs": lambda: {"password": CANARY}},
        "password file": {
            "conninfo": conninfo,
            "kwargs": {"passfile": str(password_file(folder))},
        },
        "service": {
            "kwargs": {"service": "guarded", "servicefile": str(service_file(folder, place))}
        },
        "key's password, too": {
            "conninfo": f"{conninfo} sslpassword='{quoted}' password='{quoted}'"
        },
    }


def environment(
    folder: Path, patch: pytest.MonkeyPatch, **place: Any
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return functions that prepare the environment and return the constructor's arguments."""
    conninfo = " ".join(f"{name}={value}" for name, value in place.items())

    def variable() -> dict[str, Any]:
        patch.setenv("PGPASSWORD", CANARY)
        return {"conninfo": conninfo}

    def file() -> dict[str, Any]:
        patch.setenv("PGPASSFILE", str(password_file(folder)))
        return {"conninfo": conninfo}

    def service() -> dict[str, Any]:
        patch.setenv("PGSERVICE", "guarded")
        patch.setenv("PGSERVICEFILE", str(service_file(folder, place)))
        return {}

    return {"PGPASSWORD": variable, "PGPASSFILE": file, "PGSERVICE": service}


def options() -> str:
    """Return `options` that set a parameter to the canary."""
    escaped = CANARY.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-c canary.is={escaped} -c statement_timeout=9999"


def password_file(folder: Path) -> Path:
    """Write a password file that is good for every server."""
    path = folder / "pgpass"
    escaped = CANARY.replace("\\", "\\\\").replace(":", "\\:")
    path.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def service_file(folder: Path, place: dict[str, Any]) -> Path:
    """Write a service file with the section "guarded"."""
    path = folder / "services.conf"
    lines = [f"{name}={value}" for name, value in place.items()]
    path.write_text("\n".join(["[guarded]", *lines, f"password={CANARY}\n"]), encoding="utf-8")
    return path
