"""Writes public_api.txt: the names in every public module, with their signatures.

`python tests/render_public_api.py` rewrites the file. Read its diff before you commit it.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pgmoor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FILE = Path(__file__).parent / "public_api.txt"
FUNCTIONS = staticmethod | classmethod | type(lambda: None)
PLAIN = (str, int, float, bool, tuple, enum.Enum, type(None))


def public_modules() -> list[ModuleType]:
    """Return the package and all modules in it whose path has no underscore."""
    found = pkgutil.walk_packages(pgmoor.__path__, prefix="pgmoor.")
    names = ["pgmoor", *(item.name for item in found if "._" not in item.name)]
    return [importlib.import_module(name) for name in sorted(names)]


def members(owner: type) -> dict[str, Any]:
    """Return the public methods and properties that pgmoor defines for a class, by name."""
    found: dict[str, Any] = {}
    for base in _own(owner):
        for name, member in vars(base).items():
            if not name.startswith("_") and isinstance(member, property | FUNCTIONS):
                found.setdefault(name, member)
    return dict(sorted(found.items()))


def render() -> str:
    """Return the text of the file."""
    homes: dict[int, str] = {}  # where a value was shown first
    parts = []
    for module in public_modules():
        lines = [module.__name__]
        for name in module.__all__:
            value = getattr(module, name)
            home = homes.setdefault(id(value), f"{module.__name__}.{name}")
            same = home == f"{module.__name__}.{name}"
            lines += _shown(name, value) if same else [f"    {name} = {home}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _shown(name: str, value: Any) -> Iterator[str]:
    if inspect.isfunction(value):
        yield f"    {_function(name, value)}"
    elif not inspect.isclass(value):
        text = re.sub(r" at 0x[0-9a-f]+", "", str(value))
        is_alias = hasattr(value, "__args__")
        yield f"    {name} = {text}" if is_alias else f"    {name}: {type(value).__name__}"
    else:
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"    class {name}({bases})" if bases else f"    class {name}"
        yield from (f"        {line}" for line in _inside(value))


def _inside(owner: type) -> Iterator[str]:
    if issubclass(owner, enum.Enum):
        yield from (f"{member.name} = {member.value!r}" for member in owner)
        return
    if any({"__init__", "__new__"} & vars(base).keys() for base in _own(owner)):
        yield f"{owner.__name__}{_signature(owner)}"
    public = {getattr(module, name) for module in public_modules() for name in module.__all__}
    inherited = {name for base in _own(owner)[1:] if base in public for name in members(base)}
    for name, member in members(owner).items():
        if name in inherited and name not in vars(owner):
            continue
        if isinstance(member, property):
            assert member.fget is not None
            yield f"{name}: {_annotation(inspect.signature(member.fget).return_annotation)}"
        else:
            yield _function(name, getattr(owner, name))


def _own(owner: type) -> list[type]:
    """Return a class and its bases, as far as pgmoor defines them."""
    return [base for base in owner.__mro__ if base.__module__.startswith("pgmoor")]


class _Raw:
    """Shows a text without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _annotation(annotation: Any) -> _Raw:
    return _Raw(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


def _function(name: str, value: Any) -> str:
    kind = "async " if inspect.iscoroutinefunction(value) else ""
    return f"{kind}{name}{_signature(value)}"


def _signature(value: Any) -> str:
    found, empty = inspect.signature(value), inspect.Parameter.empty
    parameters = []
    for parameter in found.parameters.values():
        default, annotation = parameter.default, parameter.annotation
        if inspect.isclass(default) and default is not empty:
            default = _Raw(default.__name__)
        elif default is not empty and not isinstance(default, PLAIN):
            default = _Raw("...")
        if annotation is not empty:
            annotation = _annotation(annotation)
        parameters.append(parameter.replace(default=default, annotation=annotation))
    returned = found.return_annotation
    return str(
        inspect.Signature(
            parameters,
            return_annotation=empty if returned is empty else _annotation(returned),
        )
    )


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
