"""Every Python block of the README and the docs runs as it is shown, against a real server.

A block that calls asyncio.run() runs as a program, one that defines a test runs under pytest, and
any other finds an open `manager`.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConnectionManager

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
if importlib.util.find_spec("procrastinate") is None:  # of the extra `libraries`, as all it shows
    PAGES.remove(ROOT / "docs" / "libraries.md")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(
        page,
        code,
        id=f"{page.stem}-{number}",
        marks=[pytest.mark.thorough] if "def test_" in code or page.stem == "libraries" else [],
    )
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1)
    if "--8<--" not in code
]
TABLE = "create table if not exists paid (id int primary key)"


@pytest.mark.parametrize(("page", "code"), BLOCKS)
async def test_a_block_of_the_documentation_runs(
    page: Path, code: str, alone: Cluster, tmp_path: Path
) -> None:
    if "asyncio.run(" in code:
        await run([sys.executable, "-"], code, alone)
    elif "def test_" in code:
        (tmp_path / "test_it.py").write_text(code, encoding="utf-8")
        options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", str(tmp_path)]
        await run([sys.executable, "-m", "pytest", *options], "", alone)
    else:
        await alone[0].sql(TABLE)
        async with ConnectionManager(alone.conninfo(), min_size=1) as manager:
            await evaluate(code, page, {"manager": manager, "__name__": page.stem})


async def run(command: list[str], code: str, cluster: Cluster) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        input=code,
        env={**os.environ, "DATABASE_URL": cluster.conninfo()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def evaluate(code: str, page: Path, names: dict[str, object]) -> None:
    compiled = compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(compiled, names)
    if inspect.isawaitable(outcome):
        await outcome
    for value in names.values():
        if isinstance(value, asyncio.Server):
            value.close()
