"""docs/proof.md, and README's table, say what was measured, and nothing else."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import proof_page

    return proof_page


@pytest.fixture
def results() -> dict[str, Any]:
    text = (ROOT / "benchmarks" / "proof.json").read_text(encoding="utf-8")
    return copy.deepcopy(json.loads(text))


def run(**changed: Any) -> dict[str, Any]:
    return {"back": 0.1, "after_writable": 0.05, "failed": 4, "lost": None, "hanging": 0, **changed}


def row(text: str, fault: str, library: str) -> str:
    part = text.partition(f"## {fault}\n")[2].partition("\n## ")[0]
    return next(line for line in part.splitlines() if line.startswith(f"| {library} |"))


def test_the_page_and_the_readme_are_those_of_the_figures(
    page: ModuleType, results: dict[str, Any]
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert page.render(results) == (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    assert page.readme_with(results, readme) == readme


def test_each_plot_of_the_page_is_there_and_fetches_nothing(
    page: ModuleType, results: dict[str, Any]
) -> None:
    plots = [
        line.partition("](")[2].rstrip(")")
        for line in page.render(results).splitlines()
        if line.startswith("![")
    ]

    assert len(plots) == len(results["faults"]) + 2
    for plot in plots:
        text = (ROOT / "docs" / plot).read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "prefers-color-scheme:dark" in text
        assert "url(http" not in text
        assert "<image" not in text


def test_a_cell_that_misses_its_bound_says_so(page: ModuleType, results: dict[str, Any]) -> None:
    crash = results["faults"]["crash"]
    crash["pgmoor"] = [run(after_writable=0.3)]
    crash["asyncpg"] = [run(after_writable=0.3)]
    crash["pgmoor-run"] = [run(failed=1)]

    text = page.render(results)

    assert "0.30 s, **misses 0.1 s**" in row(text, "Crash", "pgmoor")
    assert "misses" not in row(text, "Crash", "asyncpg")
    assert "1, **misses 0**" in row(text, "Crash", "pgmoor, `run()` with keys")

    crash["pgmoor"] = [run()]
    assert "misses" not in row(page.render(results), "Crash", "pgmoor")


def test_the_page_says_how_many_runs_it_rests_on(page: ModuleType, results: dict[str, Any]) -> None:
    results["settings"]["repeat"] = 1
    results["faults"]["crash"]["asyncpg"] = [run(back=None)]
    text = page.render(results)
    limit = f"not in {results['settings']['limit']:g} s"
    assert "Each figure of a fault is a single run" in text
    assert f"| {limit} |" in row(text, "Crash", "asyncpg")

    results["settings"]["repeat"] = 3
    results["faults"]["crash"]["asyncpg"] = [run(back=0.5), run(back=None), run(back=0.2)]
    results["faults"]["crash"]["hasql"] = [run(back=None), run(back=None), run(back=0.2)]
    text = page.render(results)
    assert "Figures are medians of 3 runs" in text
    assert f"0.50 s (0.20 s to {limit})" in row(text, "Crash", "asyncpg")
    assert f"{limit} in 2 of 3 runs" in row(text, "Crash", "hasql")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0], 1.0), ([3.0, 1.0, 2.0], 2.0), ([1.0, 3.0], 2.0), ([1.0, None], None), ([None], None)],
)
def test_never_is_more_than_any_figure(
    page: ModuleType, values: list[float | None], expected: float | None
) -> None:
    assert page.median_of(values) == expected
