"""Warns where a server over the network need not prove its identity."""

from __future__ import annotations

import ipaddress
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor._core.hosts.host import Host

    from .settings import Settings


class InsecureTransportWarning(UserWarning):
    """Connections to a host over the network don't prove that they lead to that host.

    An attacker in the network can read along or answer in the server's place. Give
    `sslmode=verify-full` and `sslrootcert`. Where something else protects the way, silence it with
    `warnings.simplefilter("ignore", pgmoor.InsecureTransportWarning)`.
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


def warn_of_weak_tls(settings: Settings) -> None:
    """Warn, once a manager, when a host over the network need not prove its identity."""
    params = settings.secrets.reveal()
    # With the system's certificates libpq allows nothing weaker (its documentation, 32.19).
    proven = "verify-full" if _given(params, "sslrootcert", "PGSSLROOTCERT") == "system" else ""
    mode = _given(params, "sslmode", "PGSSLMODE") or proven or "prefer"
    exposed = [host.label for host in settings.hosts if not is_local(host)]
    if exposed and mode != "verify-full":
        warnings.warn(
            f"sslmode={mode} does not prove that {', '.join(exposed)} is the server that is meant:"
            " give sslmode=verify-full and sslrootcert, or ignore this category of warnings",
            InsecureTransportWarning,
            stacklevel=4,  # the caller of the constructor, or of open()
        )


def _given(params: dict[str, str], name: str, variable: str) -> str:
    return params.get(name) or os.environ.get(variable, "")
