"""Reads the logging calls of pgmoor's sources, and the tables of docs/logs.md that list them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import TYPE_CHECKING

import pgmoor
from pgmoor import events
from pgmoor.logs import PREFIX

if TYPE_CHECKING:
    import logging

PACKAGE = Path(pgmoor.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "logs.md"
LEVELS = {"exception": "ERROR"}  # the others are methods of their own name
PLACEHOLDER = re.compile(r"%[-+ 0]*\d*(\.\d+)?[a-z]")


@dataclass(frozen=True)
class Line:
    """A kind of log line: what every record of it has in common."""

    logger: str
    level: str
    message: str  # its first line, with … for what varies
    event: str
    fields: frozenset[str]  # besides event and manager


def template(message: str) -> str:
    """Return a message's first line with … for each value."""
    return PLACEHOLDER.sub("…", message).splitlines()[0]


# -- the sources --------------------------------------------------------------------------------


def in_the_sources() -> list[Line]:
    """Return the lines that the sources can write, without those of the tools for tests."""
    files = (
        file
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] not in ("_cli", "testing")
    )
    return [line for file in files for line in _Module(file).lines()]


class _Module:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.tree = ast.parse(file.read_text(encoding="utf-8"))
        self.functions = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    def lines(self) -> list[Line]:
        logger = self._logger()
        inside = {  # the innermost function wins: walk() goes from the outer to the inner
            call: function
            for function in self.functions
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("logger.")
        }
        return [
            line
            for call, function in inside.items()
            for line in self._lines(logger or self._fail(call, "no logger"), call, function)
        ]

    def _fail(self, node: ast.AST, why: str) -> str:
        raise AssertionError(f"{self.file}:{getattr(node, 'lineno', 0)}: {why}")

    def _logger(self) -> str | None:
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "logger":
                assert isinstance(node.value, ast.Call)
                name = ast.literal_eval(node.value.args[0])
                assert isinstance(name, str)
                return name
        return None

    def _lines(self, logger: str, call: ast.Call, function: _Function) -> list[Line]:
        """Return a line for each level that a call has."""
        assert isinstance(call.func, ast.Attribute)
        method, args = call.func.attr, list(call.args)
        levels = [LEVELS.get(method, method.upper())]
        if method == "log":
            level = args.pop(0)
            source = _assigned(level, function) if isinstance(level, ast.Name) else level
            levels = re.findall(r"logging\.([A-Z]+)", ast.unparse(source))
        if not isinstance(args[0], ast.Constant):
            self._fail(call, "the message is not a constant")
        message = template(ast.literal_eval(args[0]))
        extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
        if extra is None:
            self._fail(call, "no extra")
        assert extra is not None
        event, names = self._extra(extra, function)
        if not event:
            self._fail(call, "no event")
        fields = frozenset(names - {"manager"})
        return [Line(logger, level, message, event, fields) for level in levels]

    def _extra(self, node: ast.expr, function: _Function) -> tuple[str, set[str]]:
        """Return the event and the names of the fields that an expression for `extra` makes."""
        if isinstance(node, ast.Name):
            return self._extra(_assigned(node, function), function)
        if not isinstance(node, ast.Call):
            self._fail(node, "extra is neither a call nor a name")
        assert isinstance(node, ast.Call)
        maker = ast.unparse(node.func).rpartition(".")[2]
        if maker == "fields":
            event = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ""
            return event, {word.arg for word in node.keywords if word.arg}
        if maker == "fields_of":
            kind = _event_class(node.args[0], function)
            return kind, _fields_of_event(kind) if kind else set()
        return self._helper(node, maker, function)

    def _helper(self, node: ast.Call, maker: str, function: _Function) -> tuple[str, set[str]]:
        """Look into a helper of the module that calls `fields` or `fields_of` for the caller."""
        inner = next(function for function in self.functions if function.name == maker)
        returned = inner.body[-1]
        assert isinstance(returned, ast.Return), maker
        assert returned.value is not None
        event, names = self._extra(returned.value, inner)
        if event == "":
            first = node.args[0]
            event = (
                ast.literal_eval(first)
                if isinstance(first, ast.Constant)
                else _event_class(first, function)
            )
            if not isinstance(first, ast.Constant):
                names = names | _fields_of_event(event)
        return event, names | {word.arg for word in node.keywords if word.arg}


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _assigned(name: ast.Name, function: _Function) -> ast.expr:
    """Return what a function has assigned to a name last, above the place where it is used."""
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == name.id
        and node.lineno < name.lineno
    ]
    assert found, f"{function.name}: {name.id} is not assigned"
    return max(found, key=lambda node: node.lineno).value


def _event_class(node: ast.expr, function: _Function) -> str:
    """Return the class of an event, or "" where it is a parameter."""
    if isinstance(node, ast.Name):
        if node.id in {argument.arg for argument in function.args.args}:
            return ""
        return _event_class(_assigned(node, function), function)
    assert isinstance(node, ast.Call)
    return ast.unparse(node.func).rpartition(".")[2]


def _fields_of_event(kind: str) -> set[str]:
    return {item.name for item in dataclass_fields(getattr(events, kind))} - {"at"}


# -- the page -----------------------------------------------------------------------------------

HEADING = re.compile(r"^### `(pgmoor\.[a-z.]+)`$")
ROW = re.compile(r"^\| ([A-Z]+) \| `([^`]+)` \| (`+)(.+?)\3 \|(.*)\|$")


def on_the_page() -> list[Line]:
    """Return the lines that docs/logs.md lists."""
    logger, found = "", []
    for text in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := HEADING.match(text):
            logger = heading[1]
        elif logger and (row := ROW.match(text)):
            level, event, _, message, names = row.groups()
            fields = frozenset(re.findall(r"`([a-z_]+)`", names))
            found.append(Line(logger, level, message.strip(), event, fields))
    return found


# -- records ------------------------------------------------------------------------------------


def extras(record: logging.LogRecord) -> dict[str, object]:
    """Return a record's fields of ours, without the prefix."""
    return {
        key.removeprefix(PREFIX): value
        for key, value in vars(record).items()
        if key.startswith(PREFIX)
    }
