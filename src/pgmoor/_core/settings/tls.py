"""Warns where a server over the network need not prove its identity."""

from __future__ import annotations

import ipaddress
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgmoor._core.hosts.host import Host

    from .settings import Settings


class InsecureTransportWarning(UserWarning):
    """Nothing proves that connections over the network lead to your server.

    An attacker on the network can read your traffic, or pose as your server. Give
    `sslmode=verify-full` and `sslrootcert`. If something else protects the network, silence this
    with `warnings.simplefilter("ignore", pgmoor.InsecureTransportWarning)`.
    """


def is_local(host: Host) -> bool:
    """Return whether connections to *host* stay on this machine."""
    address = host.hostaddr or host.host
    if not address or address.startswith(("/", "@")) or address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


_OURS = f"{Path(__file__).parents[2]}{os.sep}"


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a program, for a warning about what it has made."""

    filename: str
    line: int
    module: str
    registry: dict[Any, Any] = field(repr=False)  # the module's, of warnings already shown


def calling_place() -> Place:
    """Return the line that calls pgmoor."""
    frame = sys._getframe(1)  # noqa: SLF001  it is documented
    while frame.f_code.co_filename.startswith(_OURS) and frame.f_back is not None:
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = str(frame.f_globals.get("__name__"))
    return Place(frame.f_code.co_filename, frame.f_lineno, module, registry)


def warn_of_weak_tls(settings: Settings, made_at: Place) -> None:
    """Warn, once a manager, when a host over the network need not prove its identity.

    The warning is about the line that has made the manager: whoever opens it can't mend that.
    """
    params = settings.secrets.reveal()
    # With the system's certificates libpq allows nothing weaker (its documentation, 32.19).
    proven = "verify-full" if _given(params, "sslrootcert", "PGSSLROOTCERT") == "system" else ""
    mode = _given(params, "sslmode", "PGSSLMODE") or proven or "prefer"
    exposed = [host.label for host in settings.hosts if not is_local(host)]
    if exposed and mode != "verify-full":
        warnings.warn_explicit(
            f"sslmode={mode} does not prove that {', '.join(exposed)} is your server: give"
            " sslmode=verify-full and sslrootcert, or ignore this category of warnings",
            InsecureTransportWarning,
            made_at.filename,
            made_at.line,
            made_at.module,
            made_at.registry,
        )


def _given(params: dict[str, str], name: str, variable: str) -> str:
    return params.get(name) or os.environ.get(variable, "")
