"""Renders docs/proof.md, and README's table, from the figures of `proof.py`. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from scenarios import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Results = dict[str, Any]
Run = dict[str, Any]

START, END = "<!-- proof:start -->", "<!-- proof:end -->"
NAMES = {
    "pgmoor": "pgmoor",
    "pgmoor-run": "pgmoor, `run()` with keys",
    "psycopg_pool": "psycopg_pool",
    "psycopg_pool+check": "psycopg_pool with `check`",
    "psycopg_pool+check+tcp": "psycopg_pool with `check` and TCP limits",
    "asyncpg": "asyncpg",
    "sqlalchemy": "SQLAlchemy, pre-ping",
    "hasql": "hasql",
}
TITLES = {
    "crash": "Crash",
    "silence": "Silence",
    "freeze": "Freeze",
    "demotion": "Demotion",
    "outage": "Outage",
    "terminate": "Every session ended",
    "restart": "Restart",
    "commit-undelivered": "COMMITs that don't arrive",
    "commit-unanswered": "COMMITs without an answer",
    "stale": "The old primary comes back",
}
# What pgmoor is to keep: the figure, and its limit.
BOUNDS = {
    "crash": ("after_writable", 0.1),
    "silence": ("back", 1.2),
    "freeze": ("back", 1.2),
    "demotion": ("back", 0.2),
    "outage": ("back", 1.0),
    "stale": ("lost", 0),
}
RUN_BOUND = ("failed", 0)
NO_COMMIT = " asyncpg is left out: here each of its statements commits itself."
NOTES = {
    "outage": " It is away for {outage:g} s; times count from its return.",
    "commit-undelivered": NO_COMMIT,
    "commit-unanswered": NO_COMMIT,
}
COLUMNS = {
    "back": "all work again after",
    "after_writable": "after a server takes writes",
    "failed": "operations failed",
    "lost": "rows lost",
}
ALWAYS_WRITABLE = ("outage", "terminate", "commit-undelivered", "commit-unanswered")
SHOWN = {"stale": ("lost", "failed"), **dict.fromkeys(ALWAYS_WRITABLE, ("back", "failed"))}
USUAL = ("back", "after_writable", "failed")
IDLE_BOUND = 0.45  # times psycopg_pool
DETECTION_SLACK = 0.2  # seconds beside health_interval
README_LIBRARIES = ("pgmoor", "psycopg_pool", "psycopg_pool+check+tcp", "asyncpg", "sqlalchemy")
README_FAULTS = ("crash", "silence", "demotion", "stale")


def render(results: Results) -> str:
    """Return the page."""
    parts = [_intro(results)]
    parts += [_fault(name, results) for name in FAULTS if name in results["faults"]]
    parts += [_checkout(results), _detection(results), _machine(results)]
    return "\n\n".join(parts) + "\n"


def readme_with(results: Results, readme: str) -> str:
    """Return the README with its table and its sentence about it."""
    head, _, rest = readme.partition(START)
    _, _, tail = rest.partition(END)
    lines = ["| fault | " + " | ".join(NAMES[name] for name in README_LIBRARIES) + " |"]
    lines.append("|---|" + "---|" * len(README_LIBRARIES))
    for fault in README_FAULTS:
        libraries = results["faults"][fault]
        cells = [_short(fault, name, libraries[name], results) for name in README_LIBRARIES]
        lines.append(f"| {_sentence(fault, results)} | " + " | ".join(cells) + " |")
    table = "\n".join(lines)
    return f"{head}{START}\n{table}\n\n{_repetitions(results)}\n{END}{tail}"


# -- parts of the page -------------------------------------------------------------------------


INTRO = """# Proof

Real PostgreSQL servers fail under pgmoor and other pools, on one machine and in one run.
{repetitions} A cell that misses the bound that pgmoor has set itself says so.

`{command}` measured all of it and wrote this page. `--quick` stands for
short limits. `--render` writes the page again from `benchmarks/proof.json`.

**The workload.** A primary and a streaming standby, each behind a proxy. Sixteen tasks each take
a connection, insert a row, commit and pause 20 ms, over a pool of 4 to 8 connections. The
application sets no timeout. Every library runs at its defaults unless its name says otherwise.

**The figures.** *All work again* is the time from the fault until every task works and no error
follows for 2 s. *Operations failed* counts those that raised. *Not in {limit:g} s* counts from
the moment a server takes writes; then we ended the run. An operation that was running on the
server when it failed can't be saved, except by [`run()`](work.md), which knows what may be
repeated.

**What they leave out.** There is no network, and a promotion takes less than a second. In
production the promotion is most of the wait, and every library waits for it. The proxies
acknowledge what they swallow, so TCP limits see nothing; over a real network that drops packets,
a client with such limits notices after some seconds."""


def _intro(results: Results) -> str:
    return INTRO.format(
        repetitions=_repetitions(results), command=results["command"], limit=_limit(results)
    )


def _fault(name: str, results: Results) -> str:
    shown = SHOWN.get(name, USUAL)
    lines = ["| library | " + " | ".join(COLUMNS[column] for column in shown) + " |"]
    lines.append("|---|" + "---|" * len(shown))
    for library, title in NAMES.items():
        runs = results["faults"][name].get(library)
        if runs is not None:
            cells = [_cell(name, library, column, runs, results) for column in shown]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    what = (FAULTS[name].__doc__ or "").splitlines()[0]
    note = NOTES.get(name, "").format(**results["settings"])
    return (
        f"## {TITLES[name]}\n\n{what}{note}\n\n"
        f"![Operations a second through the fault, by library](proof/{name}.svg)\n\n"
        + "\n".join(lines)
    )


def _checkout(results: Results) -> str:
    sizes = sorted(results["checkout"], key=int)
    names = [name for name in NAMES if any(name in results["checkout"][size] for size in sizes)]
    lines = ["| pool of | " + " | ".join(NAMES[name] for name in names) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for size in sizes:
        found = results["checkout"][size]
        cells = [_micros(found, name) if name in found else "" for name in names]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    rounds = results["settings"]["rounds"]
    return (
        "## What a checkout costs\n\nMicroseconds to take a connection and give it back, with"
        f" nothing executed. Medians of {rounds} rounds in which all libraries take turns.\n\n"
        "![Microseconds for a checkout by pool size](proof/checkout.svg)\n\n" + "\n".join(lines)
    )


def _micros(found: dict[str, list[float]], name: str) -> str:
    text = _range(found[name], lambda value: f"{value:.1f}" if value < 20 else f"{value:,.0f}")
    if name != "pgmoor":
        return text
    pairs = zip(found[name], found["psycopg_pool"], strict=True)
    ratio = median(one / other for one, other in pairs)
    missed = f", **misses {IDLE_BOUND} x psycopg_pool**" if ratio > IDLE_BOUND else ""
    return f"{text}, {ratio:.2f} x psycopg_pool{missed}"


def _detection(results: Results) -> str:
    lines = ["| `health_interval` | all work again after | operations failed |", "|---|---|---|"]
    for name, runs in by_interval(results):
        back = _range([run.get("back") for run in runs], _seconds, _limit(results))
        bound = name + DETECTION_SLACK
        missed = _missed(median_of([run.get("back") for run in runs]), bound, f"{bound:g} s")
        failed = _range([run.get("failed") for run in runs], _count)
        lines.append(f"| {name:g} s | {back}{missed} | {failed} |")
    return (
        "## How long silence goes unnoticed\n\nNo packet to or from the primary passes any more,"
        " and the standby is promoted at once. A shorter `health_interval` notices sooner.\n\n"
        "![Seconds until all tasks work again, by health_interval](proof/detection.svg)\n\n"
        + "\n".join(lines)
    )


def by_interval(results: Results) -> list[tuple[float, list[Run]]]:
    """Return the runs for each `health_interval`."""
    found = results["detection"]["silence"].items()
    return sorted((float(name.partition("-")[2]), runs) for name, runs in found)


def _machine(results: Results) -> str:
    facts = results["machine"]
    names = ("psycopg", "psycopg-pool", "asyncpg", "sqlalchemy", "hasql")
    versions = ", ".join(f"{name} {facts[name]}" for name in names)
    return (
        f"## The machine\n\n{facts['cores']} cores, {facts['system']}, Python {facts['python']},"
        f" {facts['loop']}, PostgreSQL 18; {versions}. Measured on {facts['date']}; the load"
        f" before it began was {facts['load']:.1f}."
    )


# -- cells -------------------------------------------------------------------------------------


def _cell(fault: str, library: str, column: str, runs: Sequence[Run], results: Results) -> str:
    problems = [run["problem"] for run in runs if "problem" in run]
    if problems:
        return f"not measured: {problems[0][:60]}"
    values = [run[column] for run in runs]
    seconds = column in {"back", "after_writable"}
    text = _range(values, _seconds if seconds else _count, _limit(results))
    if column == "failed":
        text += _hanging(runs)
    for name, limit in _bounds(fault, library):
        if name == column:
            text += _missed(median_of(values), limit, f"{limit:g} s" if seconds else f"{limit}")
    return text


def _bounds(fault: str, library: str) -> list[tuple[str, float]]:
    if not library.startswith("pgmoor"):
        return []
    own = [BOUNDS[fault]] if fault in BOUNDS else []
    return own + ([RUN_BOUND] if library == "pgmoor-run" else [])


def _missed(value: float | None, limit: float, shown: str) -> str:
    return f", **misses {shown}**" if value is None or value > limit else ""


def _short(fault: str, library: str, runs: Sequence[Run], results: Results) -> str:
    first = "lost" if fault == "stale" else "back"
    text = _cell(fault, library, first, runs, results)
    if fault == "stale":
        return text
    failed = _range([run.get("failed") for run in runs], _count)
    return f"{text}, {failed} failed{_hanging(runs)}"


def _hanging(runs: Sequence[Run]) -> str:
    """Return how many tasks still waited when a run was ended, if any did."""
    hanging = median_of([run.get("hanging") for run in runs if run.get("back") is None] or [0])
    return f", {hanging:.0f} tasks hang" if hanging else ""


def _range(
    values: Sequence[float | None], shown: Callable[[float], str], limit: float | None = None
) -> str:
    """Return the median and, if there are several values, the range; None is never."""
    never = sum(value is None for value in values)
    middle = median_of(values)
    late = "never" if limit is None else f"not in {limit:g} s"
    known = sorted(value for value in values if value is not None)
    if middle is None or not known:
        return late if never == len(values) else f"{late} in {never} of {len(values)} runs"
    text = shown(middle)
    low, high = shown(known[0]), late if never else shown(known[-1])
    if low == high:
        return text
    return f"{text} ({low if never else low.removesuffix(' s')} to {high})"


def median_of(values: Sequence[float | None]) -> float | None:
    """Return the median; None, which stands for never, is more than everything."""
    ordered = sorted(values, key=lambda value: float("inf") if value is None else value)
    half = len(ordered) // 2
    pair = ordered[half:] if len(ordered) % 2 else ordered[half - 1 : half + 1]
    low, high = pair[0], pair[0] if len(ordered) % 2 else pair[1]
    return None if low is None or high is None else (low + high) / 2


def _limit(results: Results) -> float:
    return float(results["settings"]["limit"])


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _sentence(fault: str, results: Results) -> str:
    text = (FAULTS[fault].__doc__ or "").splitlines()[0].rstrip(".")
    lost = f": rows lost in {results['settings']['stale']:g} s" if fault == "stale" else ""
    return text[0].lower() + text[1:] + lost


def _repetitions(results: Results) -> str:
    repeat, facts = results["settings"]["repeat"], results["machine"]
    busy = ", on a busy machine" if facts["load"] > facts["cores"] else ""
    if repeat == 1:
        return f"Each figure of a fault is a single run{busy}."
    return f"Figures are medians of {repeat} runs{busy}, with the range in brackets."
