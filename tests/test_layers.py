"""The floors of pyproject.toml hold, and they do fail for an import that runs back up."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
