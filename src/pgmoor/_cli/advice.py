"""Settings of servers that will hurt a program that is to survive faults. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgmoor import HostHealth

    from .inspection import Inspection

LONG_KEEPALIVE = 600  # seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """How many connections the programs may open: `max_size`, and how many run at a time."""

    max_size: int = 10
    programs: int = 1

    @property
    def connections(self) -> int:
        """To the server in use: each manager has one more, for its probes."""
        return (self.max_size + 1) * self.programs


class Finding(NamedTuple):
    """A setting that will hurt: on which host, why, and what to do."""

    host: str
    setting: str
    value: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A host, what its server said, and whether connections stay on this machine."""

    host: HostHealth
    answers: Inspection
    local: bool


def advise(seen: Sequence[Seen], plan: Plan, hosts: int) -> list[Finding]:
    """Return what will hurt; *hosts* is how many there are, those without an answer included."""
    found = []
    for one in seen:
        for rule in RULES:
            found += [Finding(one.host.host, *words) for words in rule(one, plan, hosts)]
    return found


Words = tuple[str, str, str, str]


def _no_room(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    used, allowed = one.answers.used, one.answers.allowed
    if allowed is not None and used is not None and used + plan.connections > allowed:
        programs = "1 program" if plan.programs == 1 else f"{plan.programs} programs"
        need = f"{programs} with max_size={plan.max_size} may need {plan.connections} connections"
        yield (
            "max_connections",
            one.answers.settings["max_connections"],
            f"{need}, and {max(allowed - used, 0)} are free",
            "lower max_size, raise max_connections on every server, or use a pooler",
        )


def _open_transactions(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    if one.answers.settings.get("idle_in_transaction_session_timeout") == "0":
        yield (
            "idle_in_transaction_session_timeout",
            "0",
            "a program that hangs in a transaction keeps its locks forever",
            "set it to 60s, or longer than your longest pause in a transaction",
        )


def _idle_sessions(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    limit = one.answers.settings.get("idle_session_timeout", "0")
    if limit != "0":
        yield (
            "idle_session_timeout",
            f"{int(limit) / 1000:g}s",
            "the server ends idle connections, and pgmoor has to reconnect",
            "set it to 0 for this role, or keepalive_interval of pgmoor below it",
        )


def _vanished_clients(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    idle = int(one.answers.settings.get("tcp_keepalives_idle", "0"))
    # Over a Unix socket it is 0; a user timeout does not replace keepalives while nothing is sent.
    if idle > LONG_KEEPALIVE:
        yield (
            "tcp_keepalives_idle",
            f"{idle}s",
            "sessions and locks of a program whose machine vanished stay that long",
            "set tcp_keepalives_idle=60, tcp_keepalives_interval=10 and tcp_keepalives_count=6",
        )


def _lost_commits(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    settings = one.answers.settings
    if one.host.role != "primary" or hosts < 2 or "synchronous_commit" not in settings:
        return
    reason = "acknowledged commits that no standby has yet are lost with the primary"
    if settings.get("synchronous_standby_names") == "":
        yield (
            "synchronous_standby_names",
            "''",
            reason,
            "name your standbys, such as 'ANY 1 (*)', if you can't lose a commit",
        )
    elif settings["synchronous_commit"] in {"off", "local"}:
        value = settings["synchronous_commit"]
        yield "synchronous_commit", value, reason, "set it to on, if you can't lose a commit"


def _no_rewind(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    settings = one.answers.settings
    if hosts > 1 and (settings.get("wal_log_hints"), settings.get("data_checksums")) == (
        "off",
        "off",
    ):
        yield (
            "wal_log_hints",
            "off",
            "without it or checksums pg_rewind can't turn an old primary into a standby",
            "set it to on, or enable checksums with pg_checksums",
        )


def _read_only(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    if (
        one.host.role == "primary"
        and one.answers.settings.get("default_transaction_read_only") == "on"
    ):
        yield (
            "default_transaction_read_only",
            "on",
            "the server refuses writes, and pgmoor does not use it as a primary",
            "set it to off, for the server or for this role and database",
        )


def _in_the_clear(one: Seen, plan: Plan, hosts: int) -> Iterator[Words]:  # noqa: ARG001
    if not one.local and not one.answers.tls.in_use:
        yield (
            "sslmode",
            "no TLS",
            "anyone in the network can read and change what you send",
            "turn ssl on in the server, and use sslmode=verify-full with sslrootcert",
        )


RULES: tuple[Callable[[Seen, Plan, int], Iterator[Words]], ...] = (
    _no_room,
    _read_only,
    _in_the_clear,
    _open_transactions,
    _idle_sessions,
    _vanished_clients,
    _lost_commits,
    _no_rewind,
)


def by_hosts(findings: Sequence[Finding]) -> Mapping[tuple[str, ...], list[str]]:
    """Return the hosts of each finding: most are the same on all servers."""
    found: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        found.setdefault(finding[1:], []).append(finding.host)
    return found
