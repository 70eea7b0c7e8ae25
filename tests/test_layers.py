"""The floors of pyproject.toml hold, and they do fail for an import that runs back up."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pgmoor

ROOT = Path(__file__).parent.parent
PACKAGE = Path(pgmoor.__file__).parent


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the package in *folder*."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r});"
        " from importlinter.cli import lint_imports;"
        f" sys.exit(lint_imports({str(ROOT / 'pyproject.toml')!r}, no_cache=True))"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    done = lint(PACKAGE.parent)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_an_import_that_runs_back_up_breaks_a_contract(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "pgmoor")
    lower = tmp_path / "pgmoor" / "_core" / "hosts" / "host.py"
    lower.write_text(lower.read_text() + "\nfrom pgmoor._core.pool import waiters  # noqa\n")

    done = lint(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "pgmoor._core.hosts.host -> pgmoor._core.pool.waiters" in done.stdout


def floors(contract: str) -> list[set[str]]:
    """Return the floors of a contract, from the top, with the rooms on each."""
    for found in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]:
        if found["name"].startswith(contract):
            return [set(layer.split(" | ")) for layer in found["layers"]]
    raise LookupError(contract)


def test_the_picture_in_the_documentation_shows_the_floors_of_the_contracts() -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    picture = page.partition("<!-- floors:start -->")[2].partition("<!-- floors:end -->")[0]
    lines = [re.split(r"  +", line.strip("│ "))[0] for line in picture.splitlines()]
    shown = [set(line.split(" · ")) for line in lines if re.match(r"\w", line)]
    inside = floors("Rooms of the core")
    whole = floors("Floors")
    core = whole.index({"_core"})

    assert shown == [*whole[:core], *inside, *whole[core + 1 :]]
