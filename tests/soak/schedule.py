"""Which faults happen, where and when: a pure function of the seed.

The episodes have no end. How many are played depends on the length of the run, so a longer run of
the same seed begins like the shorter one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kind(Enum):
    """A fault, by what it happens to, and what undoes it."""

    # of the network between the program and one server; healed
    SILENT = "silent"
    BLACKHOLE = "blackhole"
    PARTITION = "partition"  # refused and reset
    REFUSE = "refuse"
    DEAF = "deaf"
    DELAY = "delay"
    SLOW = "slow path"  # a round trip of up to 0.3 s
    FORGET = "forget"  # established connections go silent, new ones work
    CUT = "cut"  # in mid-message
    RESET = "reset"
    FLAP = "flap"  # partitioned and healed twice a second
    # of the sessions of one server
    TERMINATE_ONE = "terminate one"
    TERMINATE_ALL = "terminate all"
    FULL = "full"  # no connection slot is left
    LOCKED_OUT = "locked out"  # the program's role may not log in
    REJECTED = "rejected"  # the program's role, by one server's pg_hba.conf
    ROLE_LIMIT = "connection limit"  # of the program's role
    REVOKED = "right revoked"  # to ask a server for its timeline
    DEFAULTS = "session defaults"  # of the program's role: isolation, time zone
    SERIALIZABLE = "serializable"  # and deferrable, by default; a standby refuses it
    STATEMENT_TIMEOUT = "statement timeout"  # a short one, of the program's role
    ROLE_READ_ONLY = "read-only role"  # by default
    LOCKED = "tables locked"  # against writes
    # of the PgBouncer before one server
    POOLER_FROZEN = "pooler frozen"
    POOLER_PAUSED = "pooler paused"
    POOLER_KILLED = "pooler killed"
    # of the program
    BLOCKED = "loop blocked"  # its event loop stands still, as in a stopped process
    # of one server; it is brought back
    FREEZE = "freeze"
    KILL = "kill"
    STOP = "stop"
    CRASH = "crash"  # a backend is killed, and the server restarts by itself
    READ_ONLY = "read-only"
    ALL_STANDBY = "all standby"  # the primary becomes a standby; none is promoted for a while


class Where(Enum):
    """Which server, by its role when the fault begins."""

    PRIMARY = "primary"
    STANDBY = "standby"


class Second(Enum):
    """What happens to the new primary."""

    NOTHING = "nothing"
    CRASHES = "crashes"  # before a standby follows it; it comes back
    DIES = "dies"  # once a standby follows it, which is promoted next


NETWORK = frozenset(
    {
        Kind.SILENT,
        Kind.BLACKHOLE,
        Kind.PARTITION,
        Kind.REFUSE,
        Kind.DEAF,
        Kind.DELAY,
        Kind.SLOW,
        Kind.FORGET,
        Kind.CUT,
        Kind.RESET,
        Kind.FLAP,
    }
)
SESSIONS = frozenset(
    {
        Kind.TERMINATE_ONE,
        Kind.TERMINATE_ALL,
        Kind.FULL,
        Kind.LOCKED_OUT,
        Kind.REJECTED,
        Kind.ROLE_LIMIT,
        Kind.REVOKED,
        Kind.DEFAULTS,
        Kind.SERIALIZABLE,
        Kind.STATEMENT_TIMEOUT,
        Kind.ROLE_READ_ONLY,
        Kind.LOCKED,
        Kind.BLOCKED,
    }
)
POOLER = frozenset({Kind.POOLER_FROZEN, Kind.POOLER_PAUSED, Kind.POOLER_KILLED})
SERVER = frozenset({Kind.FREEZE, Kind.KILL, Kind.STOP, Kind.CRASH, Kind.READ_ONLY})
LOSSES = (  # after which a standby is promoted
    Kind.KILL,
    Kind.FREEZE,
    Kind.SILENT,
    Kind.BLACKHOLE,
    Kind.PARTITION,
    Kind.READ_ONLY,
    Kind.STOP,
    Kind.ALL_STANDBY,
)
# No host is lost by any of these, nor by several at a time.
HARMLESS = frozenset(
    {
        Kind.SLOW,
        Kind.RESET,
        Kind.TERMINATE_ONE,
        Kind.TERMINATE_ALL,
        Kind.FULL,
        Kind.ROLE_LIMIT,
        Kind.REVOKED,
        Kind.DEFAULTS,
        Kind.SERIALIZABLE,
        Kind.STATEMENT_TIMEOUT,
        Kind.LOCKED,
        Kind.BLOCKED,
        *POOLER,  # another manager uses them
    }
)
MOMENTARY = frozenset({Kind.RESET, Kind.TERMINATE_ONE, Kind.TERMINATE_ALL, Kind.CRASH})


@dataclass(frozen=True)
class Fault:
    """One fault, *at* seconds after its episode began, undone after *lasts* seconds."""

    kind: Kind
    where: Where
    at: float
    lasts: float
    amount: float  # between 0 and 1: the length of a delay, the bytes before a cut, ...

    def __str__(self) -> str:
        lasts = "" if self.kind in MOMENTARY else f" for {self.lasts:.2f} s"
        return f"+{self.at:.2f} {self.kind.value} ({self.where.value}){lasts}"


@dataclass(frozen=True)
class Takeover:
    """The primary is lost, and a standby is promoted *promote_after* seconds later."""

    kind: Kind
    promote_after: float
    second: Second
    comes_back: bool  # the old primary comes back and stays writable for *dwell* seconds
    dwell: float

    def __str__(self) -> str:
        back = f", back and writable for {self.dwell:.2f} s" if self.comes_back else ""
        second = "" if self.second is Second.NOTHING else f", the new one {self.second.value}"
        return f"primary lost: {self.kind.value}, promotion +{self.promote_after:.2f}{second}{back}"


@dataclass(frozen=True)
class Episode:
    """What happens between two moments when all is well."""

    number: int
    takeover: Takeover | None
    faults: tuple[Fault, ...]

    @property
    def harmless(self) -> bool:
        """Whether no host is lost: then the manager stays where it is."""
        return self.takeover is None and {fault.kind for fault in self.faults} <= HARMLESS

    def __str__(self) -> str:
        what = [str(self.takeover)] if self.takeover else []
        return "; ".join([*what, *map(str, self.faults)])


def episodes(seed: int) -> Iterator[Episode]:
    """Return the episodes of a seed, without end."""
    rng = random.Random(f"{seed}-episodes")
    number = 0
    while True:
        number += 1
        yield _with_takeover(rng, number) if rng.random() < 0.5 else _without(rng, number)


def manager_settings(seed: int) -> dict[str, Any]:
    """Return the manager's settings for a seed: short times, so that a minute is eventful."""
    rng = random.Random(f"{seed}-settings")
    min_size = rng.choice([1, 2, 4])
    return {
        "min_size": min_size,
        "max_size": min_size + rng.choice([0, 2, 6]),
        "timeout": rng.choice([3.0, 6.0]),
        "health_interval": rng.choice([0.1, 0.5, 1.0]),
        "health_timeout": rng.choice([0.5, 1.0]),
        "keepalive_interval": rng.choice([1.0, 30.0]),
        "validate_after": rng.choice([0.0, 1.0]),
        "stall_timeout": rng.choice([2.0, 4.0]),
        "failback_after": rng.choice([0.5, 30.0]),
        "cancel_timeout": rng.choice([0.5, 1.0]),
        "close_timeout": rng.choice([1.0, 3.0]),
        "max_lifetime": rng.choice([3.0, 3600.0]),
        "max_idle": rng.choice([2.0, 600.0]),
        "close_returns": rng.random() < 0.3,
        "held_warning": rng.choice([1.0, 300.0]),
        "max_overflow": rng.choice([0, 0, 3]),
        "max_waiting": rng.choice([0, 0, 10]),
        "when_down": rng.choice(["wait", "wait", "fail"]),
    }


def _with_takeover(rng: random.Random, number: int) -> Episode:
    kind = rng.choice(LOSSES)
    chance = rng.random()
    second = Second.NOTHING
    if kind is not Kind.ALL_STANDBY:
        second = Second.DIES if chance < 0.15 else Second.CRASHES if chance < 0.3 else second
    takeover = Takeover(
        kind,
        promote_after=rng.choice([0.0, rng.uniform(0.0, 0.5), rng.uniform(0.5, 3.0)]),
        second=second,
        comes_back=kind is not Kind.ALL_STANDBY and rng.random() < 0.6,
        dwell=rng.uniform(0.5, 2.0),
    )
    # No second fault of a server: what an orchestrator finds then is not the subject here.
    others = sorted(NETWORK | SESSIONS | POOLER, key=lambda kind: kind.value)
    count = rng.choice([0, 0, 1, 2])
    return Episode(number, takeover, tuple(_fault(rng, others) for _ in range(count)))


def _without(rng: random.Random, number: int) -> Episode:
    kinds = sorted(NETWORK | SESSIONS | POOLER | SERVER, key=lambda kind: kind.value)
    faults = [_fault(rng, kinds) for _ in range(rng.choice([1, 1, 2, 3]))]
    # One fault of a server at a time: without both standbys commits wait, and without the primary
    # there is nobody to ask.
    of_servers = [fault for fault in faults if fault.kind in SERVER]
    kept = [fault for fault in faults if fault not in of_servers[1:]]
    return Episode(number, None, tuple(sorted(kept, key=lambda fault: fault.at)))


def _fault(rng: random.Random, kinds: list[Kind]) -> Fault:
    kind = rng.choice(kinds)
    where = Where.PRIMARY if rng.random() < 0.7 else Where.STANDBY
    least, most = rng.choices([(0.05, 0.5), (0.5, 2.0), (2.0, 5.0), (5.0, 9.0)], [3, 3, 3, 1])[0]
    lasts = rng.uniform(least, most)
    at = rng.uniform(0.0, 1.5)
    return Fault(kind, where, round(at, 2), round(lasts, 2), round(rng.random(), 3))
