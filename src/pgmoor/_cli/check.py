"""`pgmoor check`: the hosts behind a conninfo, whether pgmoor can use them, and what will hurt.

It prints hosts, states, failures and settings of servers, none of which contains a password.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import warnings
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.padding import Padding
from rich.text import Text

from pgmoor import ConnectionManager, InsecureTransportWarning
from pgmoor._core.settings.tls import is_local

from .advice import Plan, Seen, advise, by_hosts
from .inspection import inspect
from .tables import BAD, GOOD, MUTED, WARNING, host_table, server_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from pgmoor import Health
    from pgmoor._core.hosts.rules import TargetName

    from .advice import Finding
    from .inspection import Inspection

LOOK = 0.05  # seconds between two looks at the hosts
INSPECTION = 3.0  # seconds for the questions to each server
# Nothing more is to be heard of these hosts.
ANSWERED = frozenset({"up", "rejected", "down", "silent"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be checked; *hosts* replace those of the conninfo."""

    conninfo: str
    hosts: Sequence[str] = ()
    target: str | None = None
    timeout: float = 10.0
    plan: Plan = field(default_factory=Plan)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    ready: bool
    reason: str
    health: Health
    answers: Mapping[str, Inspection | None]
    findings: Sequence[Finding]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints; docs/commands.md has the keys."""
        used = next((host.host for host in self.health.hosts if host.current), None)
        return {
            "ready": self.ready,
            "reason": self.reason,
            "used": used,
            "hosts": [self._host(number) for number in range(len(self.health.hosts))],
            "findings": [finding._asdict() for finding in self.findings],
        }

    def _host(self, number: int) -> dict[str, Any]:
        host = self.health.hosts[number]
        answers = self.answers.get(host.host)
        tls = answers and answers.tls
        return {
            "host": host.host,
            "status": host.status,
            "role": host.role,
            "writable": host.writable,
            "stale": host.stale,
            "used": host.current,
            "timeline": host.timeline,
            "latency": host.latency,
            "lag": host.lag,
            "pooled": host.pooled,
            "failure": host.failure,
            "version": answers and answers.version,
            "tls": tls and {"in_use": tls.in_use, "version": tls.version, "cipher": tls.cipher},
            "connections": answers and {"used": answers.used, "allowed": answers.allowed},
        }


def quiet() -> None:
    """Keep logged and other warnings from the terminal: what is shown says the same."""
    logging.getLogger("pgmoor").addHandler(logging.NullHandler())
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore", InsecureTransportWarning)


def make_manager(wanted: Wanted, **settings: Any) -> ConnectionManager:
    """Return a manager for the hosts; raise `ConfigError` if the settings can't be used."""
    return ConnectionManager(
        _without_hosts(wanted.conninfo) if wanted.hosts else wanted.conninfo,
        hosts=list(wanted.hosts) or None,
        kwargs={"application_name": f"pgmoor {os.getpid()}"},
        target=cast("TargetName | None", wanted.target),  # which checks it
        min_size=1,
        when_down="wait",
        **settings,
    )


def _without_hosts(conninfo: str) -> str:
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        return conninfo  # the manager refuses it without quoting it
    for name in ("host", "hostaddr", "port"):
        given.pop(name, None)
    return make_conninfo("", **given)


async def check(wanted: Wanted, console: Console, *, as_json: bool = False) -> bool:
    """Show what is behind a conninfo; return whether a connection was made.

    Raises `ConfigError` if the settings can't be used.
    """
    quiet()
    report = await _examine(wanted)
    if as_json:
        console.file.write(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        _show(report, console)
    return report.ready


async def _examine(wanted: Wanted) -> Report:
    deadline = monotonic() + wanted.timeout
    manager = make_manager(wanted, timeout=wanted.timeout)
    async with manager:
        ready = await _settled(manager, deadline)
        health = await manager.health()
        settings = manager._settings  # noqa: SLF001  it knows how each host is reached
        up = [
            host
            for host, state in zip(settings.hosts, health.hosts, strict=True)
            if state.status == "up"
        ]
        found = await asyncio.gather(
            *(inspect(settings.connect_call(host)[0], INSPECTION) for host in up)
        )
    answers = {host.label: one for host, one in zip(up, found, strict=True)}
    local = {host.label for host in up if is_local(host)}
    seen = [
        Seen(host, known, host.host in local)
        for host in health.hosts
        if (known := answers.get(host.host)) is not None
    ]
    findings = advise(seen, wanted.plan, len(health.hosts))
    return Report(ready, _reason(health, wanted.timeout, ready=ready), health, answers, findings)


async def _settled(manager: ConnectionManager, deadline: float) -> bool:
    """Wait until every host has answered or failed; return whether a connection was made."""
    making = asyncio.create_task(manager.wait(max(deadline - monotonic(), 0)))
    try:
        while monotonic() < deadline:
            health = manager.snapshot()
            answered = all(host.status in ANSWERED for host in health.hosts)
            if answered and (making.done() or health.state == "outage"):
                break
            if making.done():
                await asyncio.sleep(LOOK)  # another host has not answered yet
            else:
                await asyncio.wait([making], timeout=LOOK)
    finally:
        making.cancel()
        await asyncio.wait([making])
    return not making.cancelled() and not isinstance(making.exception(), psycopg.Error)


def _reason(health: Health, timeout: float, *, ready: bool) -> str:
    used = next((host for host in health.hosts if host.current), None)
    if ready and used is not None:
        return f"{used.host}, {used.role_label}"
    if any(host.status not in ANSWERED for host in health.hosts):
        return f"no host qualifies within {timeout:g} s"
    return "no host satisfies the target" if health.state == "outage" else health.reason


def _show(report: Report, console: Console) -> None:
    hosts = report.health.hosts
    console.print(host_table([(host.host, host) for host in hosts], fold=True))
    console.print()
    console.print(server_table(report.answers))
    for words, names in by_hosts(report.findings).items():
        setting, value, reason, remedy = words
        console.print()
        where = "every host" if len(names) == len(hosts) > 1 else ", ".join(names)
        line = Text(f"{setting} = {value}", style=WARNING)
        line.append(f" on {where}", style=MUTED)
        console.print(line)
        body = Text(f"{reason[0].upper()}{reason[1:]}.\nRemedy: {remedy}.")
        console.print(Padding(body, (0, 0, 0, 2)))
    console.print()
    style = GOOD if report.ready else BAD
    console.print(Text(f"{'ready' if report.ready else 'not ready'}: {report.reason}", style=style))
