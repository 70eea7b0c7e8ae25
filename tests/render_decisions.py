"""Renders the cases of decision_cases.py as the tables of docs/decisions.md.

`python tests/render_decisions.py` prints them; with `--write` it puts them into the page.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from decision_cases import CASES, Case
from pgmoor._core.hosts.decision import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parent.parent / "docs" / "decisions.md"
BEGIN = "<!-- The cases: written by tests/render_decisions.py from tests/decision_cases.py. -->\n"
END = "<!-- End of the cases. -->\n"


def render(cases: Sequence[Case]) -> str:
    """Return a section with a table for each topic."""
    parts = []
    for topic, members in groupby(cases, key=lambda case: case.topic):
        rows = [_row(case) for case in members]
        head = ["| the case | what is known of the hosts | in use | decision | because |"]
        parts.append("\n".join([f"### {topic}\n", *head, "|---|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def shown_on(page: str) -> str:
    """Return what stands between the two marks of the page."""
    return page.partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def _row(case: Case) -> str:
    hosts = "<br>".join(f"db{index}: {seen}" for index, seen in enumerate(case.hosts, start=1))
    given = f"{case.name} ({', '.join(case.settings)})" if case.settings else case.name
    if case.current is None:
        in_use = f"none, for {case.searching or 0:g} s"
    else:
        in_use = f"db{case.current + 1}"
    return f"| {given} | {hosts} | {in_use} | {_decision(case)} | {case.then.reason.value} |"


def _decision(case: Case) -> str:
    then = case.then
    words = f"**{then.action.value}**"
    if then.action is Action.SWITCH and then.host is not None:
        words += f" to db{then.host + 1}"
    if then.abort:
        words += ", cut its connections"
    if then.recheck is not None:
        words += f"; decide again in {then.recheck:g} s"
    return words


def main() -> None:
    """Print the tables, or put them into the page."""
    tables = render(CASES)
    if "--write" not in sys.argv:
        sys.stdout.write(tables)
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
