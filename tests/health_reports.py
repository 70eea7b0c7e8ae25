"""Health reports to render, and strategies that make up more of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

from hypothesis import strategies as st

from pgmoor import Health, HostHealth, State, Status
from pgmoor._core.manager.snapshot import grade
from pgmoor.health import SERVING, PoolFigures
from pgmoor.http import Check, Format, health_response

FORMATS: tuple[Format, ...] = get_args(Format)
CHECKS: tuple[Check, ...] = get_args(Check)

CALM = PoolFigures(size=4, used=1, idle=3, waiting=0, min_size=4, max_size=8)
FULL = PoolFigures(size=8, used=8, idle=0, waiting=3, min_size=4, max_size=8)
PRIMARY = HostHealth(
    host="db1:5432",
    status="up",
    role="primary",
    writable=True,
    timeline=3,
    latency=0.0012345,
    lag=None,
    current=True,
    stale=False,
    failure=None,
    age=0.5,
)
DEAD = replace(
    PRIMARY,
    host="db2:5432",
    status="down",
    role="standby",
    writable=False,
    lag=0.25,
    current=False,
    failure="Connection refused",
    age=1.0,
)
UNPROBED = HostHealth(
    host="db3:5432",
    status="unknown",
    role="unknown",
    writable=None,
    timeline=None,
    latency=None,
    lag=None,
    current=False,
    stale=False,
    failure=None,
)


def report(
    state: State = State.READY,
    pool: PoolFigures = CALM,
    hosts: tuple[HostHealth, ...] = (PRIMARY,),
    *,
    live: bool = True,
    name: str = "orders",
) -> Health:
    """Return what a manager in that state reports."""
    status, reason = grade(state, pool, hosts)
    return Health(
        live=live,
        ready=state in SERVING,
        status=status,
        state=state.value,
        reason=reason,
        since=12.3456,
        pool=pool,
        hosts=hosts,
        name=name,
        at=1_700_000_000.25,
    )


WELL = report()
WARNING = report(hosts=(PRIMARY, DEAD, UNPROBED))
OUTAGE = report(State.OUTAGE, hosts=(replace(PRIMARY, status="down", current=False), DEAD))
BUSY = report(pool=FULL)
CLOSED = report(State.CLOSED, live=False)


def shown(health: Health, form: Format, check: Check = "ready", *, details: bool = True) -> Any:
    """Return the body of a response: parsed, unless it is text."""
    response = health_response(health, format=form, check=check, details=details)
    text = response.body.decode()
    return text if form == "text" else json.loads(text)


words = st.text(st.characters(), min_size=1, max_size=30)  # including lone surrogates
figures = st.builds(
    PoolFigures, *(st.integers(0, 100) for _ in range(4)), min_size=st.just(1), max_size=st.just(9)
)
seconds = st.none() | st.floats(0, 1e6)
hosts = st.builds(
    HostHealth,
    host=words,
    status=st.sampled_from([status.value for status in Status]),
    role=st.sampled_from(["primary", "standby", "unknown"]),
    writable=st.none() | st.booleans(),
    timeline=st.none() | st.integers(1, 2**31),
    latency=seconds,
    lag=seconds,
    current=st.booleans(),
    stale=st.booleans(),
    failure=st.none() | words,
    age=st.floats(0, 1e6),
    pooled=st.none() | st.booleans(),
)
reports = st.builds(
    report,
    st.sampled_from(State),
    figures,
    st.lists(st.just(UNPROBED) | hosts, min_size=1, max_size=4).map(tuple),
    live=st.booleans(),
    name=words,
)
forms, checks = st.sampled_from(FORMATS), st.sampled_from(CHECKS)
