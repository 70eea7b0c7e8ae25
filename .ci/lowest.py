"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

Those of what pgmoor needs and of its extras for users; the tools of its own tests stay new.
"""

import re
import tomllib
from pathlib import Path

TOOLS = {"test", "libraries", "bench", "docs", "dev"}

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
wanted = list(project["dependencies"])
for extra, requirements in project["optional-dependencies"].items():
    if extra not in TOOLS:
        wanted += requirements
found = {}
for requirement in wanted:
    match = re.match(r"([\w-]+)(?:\[[\w,-]+\])?>=([\d.]+)", requirement)
    if match is not None:
        found[match[1]] = match[2]
    elif not requirement.startswith("pgmoor["):
        raise SystemExit(f"{requirement} has no lower bound")
for name, version in sorted(found.items()):
    print(f"{name}=={version}")
