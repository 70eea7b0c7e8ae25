"""What faults are tried on each version of PostgreSQL, and the table of it in docs/support.md.

`python tests/render_versions.py` prints the tests, for pytest. With a directory of their results,
`14.xml` to `18.xml`, it compares the page with them; with `--write` it writes them into the page.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "support.md"
BEGIN = "<!-- The versions: written by tests/render_versions.py from results of .ci/run. -->\n"
END = "<!-- End of the versions. -->\n"
VERSIONS = ("14", "15", "16", "17", "18")
PASSED, FAILED = "✓", "✗"

LOST = "tests/faults/test_primary_lost.py::"
FAULTS = {
    "the primary crashes, a standby is promoted": (
        f"{LOST}test_after_a_crash_all_callers_work_again_as_soon_as_the_standby_is_promoted"
        "[asyncio]"
    ),
    "it falls silent": (
        f"{LOST}test_when_the_primary_falls_silent_callers_move_and_errors_say_why[asyncio-0.1-1.2]"
    ),
    "it freezes, and thaws": (
        f"{LOST}test_when_the_primary_freezes_callers_move_and_it_gets_nothing_once_it_thaws"
        "[asyncio]"
    ),
    "it is demoted": (
        f"{LOST}test_when_the_primary_is_demoted_callers_leave_the_server_that_refuses_writes"
        "[asyncio]"
    ),
    "it has rejoined as a standby, and is promoted again": (
        f"{LOST}test_a_second_failover_returns_to_the_first_host_once_it_has_rejoined"
    ),
    "it comes back as a stale primary": (
        "tests/faults/test_split_brain.py::"
        "test_a_lost_primary_that_comes_back_gets_no_statement_from_any_manager[crash]"
    ),
    "the only server is restarted": (
        "tests/faults/test_only_server.py::"
        "test_a_restart_under_ten_idle_connections_fails_no_caller"
    ),
    "it has no connection left": (
        "tests/faults/test_saturation.py::"
        "test_callers_wait_while_all_slots_are_taken_from_the_start"
    ),
    "a query is cancelled": (
        "tests/faults/test_cancellation.py::"
        "test_a_connection_survives_a_timeout_around_a_slow_query[asyncio]"
    ),
    "a `COMMIT` is not answered": (
        "tests/work/test_resolved.py::test_a_commit_that_is_lost_happens_once[True-order-7]"
    ),
}


def table(results: dict[str, dict[str, str]]) -> str:
    """Return the table of *results*: by version, what became of each fault."""
    rows = [
        " | ".join([fault, *(results[version].get(fault, "?") for version in VERSIONS)])
        for fault in FAULTS
    ]
    head = f"| fault | {' | '.join(VERSIONS)} |\n|---|{'---|' * len(VERSIONS)}\n"
    return head + "".join(f"| {row} |\n" for row in rows)


def on_page(text: str) -> dict[str, dict[str, str]]:
    """Return what the page's table says of each version."""
    found: dict[str, dict[str, str]] = {version: {} for version in VERSIONS}
    for line in text.partition(BEGIN)[2].partition(END)[0].splitlines()[2:]:
        fault, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for version, cell in zip(VERSIONS, cells, strict=True):
            found[version][fault] = cell
    return found


def outcomes(report: Path) -> dict[str, str]:
    """Return what became of each fault in a report that pytest has written."""
    passed = {
        f"{case.get('classname')}.{case.get('name')}"
        for case in ET.parse(report).iter("testcase")
        if not list(case)
    }
    names = {fault: test.replace(".py::", ".").replace("/", ".") for fault, test in FAULTS.items()}
    return {fault: PASSED if name in passed else FAILED for fault, name in names.items()}


def main(arguments: list[str]) -> str | None:
    """Print the tests, or compare or write the table; return what is wrong."""
    if not arguments:
        sys.stdout.write("\n".join([*FAULTS.values(), ""]))
        return None
    page = PAGE.read_text(encoding="utf-8")
    reports = {path.stem: outcomes(path) for path in Path(arguments[-1]).glob("*.xml")}
    results = {**on_page(page), **reports}
    before, _, rest = page.partition(BEGIN)
    new = f"{before}{BEGIN}{table(results)}{END}{rest.partition(END)[2]}"
    if "--write" in arguments:
        PAGE.write_text(new, encoding="utf-8")
        return None
    sys.stdout.write(table({**{version: {} for version in VERSIONS}, **reports}))
    return None if new == page else f"{PAGE.name} says something else: run this with --write"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
