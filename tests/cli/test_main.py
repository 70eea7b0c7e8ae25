from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgmoor import __version__

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Start = Callable[..., subprocess.Popen[str]]

WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
"""


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_names_it(pgmoor: Start, missing: str) -> None:
    process = pgmoor("demo", code=WITHOUT.format(name=missing))

    out, err = process.communicate(timeout=20)

    assert process.returncode == 2
    assert out == ""
    assert err.count("\n") == 1
    assert 'pip install "pgmoor[cli]"' in err


def test_another_missing_module_is_not_reported_as_a_missing_extra(pgmoor: Start) -> None:
    process = pgmoor(code=WITHOUT.format(name="json"))

    _, err = process.communicate(timeout=20)

    assert "pip install" not in err
    assert "ModuleNotFoundError: No module named 'json'" in err


def test_the_version_is_printed(pgmoor: Start) -> None:
    out, _ = pgmoor("--version").communicate(timeout=20)

    assert out == f"pgmoor {__version__}\n"


def test_help_names_the_commands(pgmoor: Start) -> None:
    out, _ = pgmoor("--help").communicate(timeout=20)

    assert all(command in out for command in ("demo", "check", "watch", "install", "alert-test"))


def test_without_postgresql_the_demo_names_the_extra(
    pgmoor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGMOOR_PG_BIN", "/nowhere")
    process = pgmoor("demo", "--plain")

    _, err = process.communicate(timeout=20)

    assert process.returncode == 2
    assert 'pip install "pgmoor[testing]"' in err
