"""Reads the logging calls of pgmoor's sources, and the tables of docs/logs.md that list them."""

from __future__ import annotations

import ast
import logging
import re
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path

import pgmoor
from pgmoor import events
from pgmoor._core.reporting import reporter
from pgmoor._core.reporting.log_fields import PREFIX

PACKAGE = Path(pgmoor.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "logs.md"
LEVELS = {"exception": "ERROR"}  # the other methods are named like their levels
PLACEHOLDER = re.compile(r"%[-+ 0]*\d*(\.\d+)?[a-z]")
VARIES = "…"
SENTENCE = ""  # the message of a line about an event, which says itself


@dataclass(frozen=True)
class Line:
    """A kind of log line: what all its records have in common."""

    logger: str
    level: str
    message: str  # its first line, with … for what varies; or SENTENCE
    event: str
    fields: frozenset[str]  # besides event and manager

    def matches(self, text: str) -> bool:
        """Return whether *text* is a message of this kind."""
        pattern = re.escape(self.message).replace(VARIES, ".*")
        return re.fullmatch(pattern, text.partition("\n")[0]) is not None


def template(message: str) -> str:
    """Return a message's first line with … for each value."""
    return PLACEHOLDER.sub(VARIES, message).splitlines()[0]


# -- the sources --------------------------------------------------------------------------------


def in_the_sources() -> list[Line]:
    """Return the lines that the library logs."""
    files = (
        file
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] not in ("_cli", "testing")
    )
    return [line for file in files for line in Module(file).lines()]


_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """One source file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.tree = ast.parse(file.read_text(encoding="utf-8"))
        self.functions = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    def lines(self) -> list[Line]:
        """Return the lines of all calls of a logger's methods, and of `Reporter.tell()`."""
        inside = {  # the innermost function wins: walk() goes from the outer to the inner
            call: function
            for function in self.functions
            for call in ast.walk(function)
            if isinstance(call, ast.Call)
        }
        found: list[Line] = []
        for call, function in inside.items():
            name = ast.unparse(call.func)
            if name.startswith("logger."):
                found += self._logged(call, function)
            elif name.rpartition(".")[2] == "tell":
                found.append(self._told(call, function))
        return found

    def _fail(self, node: ast.AST, why: str) -> AssertionError:
        return AssertionError(f"{self.file}:{getattr(node, 'lineno', 0)}: {why}")

    def _logger(self, call: ast.Call) -> str:
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "logger":
                assert isinstance(node.value, ast.Call)
                return str(ast.literal_eval(node.value.args[0]))
        raise self._fail(call, "no logger")

    def _told(self, call: ast.Call, function: _Function) -> Line:
        """Return the line of a call that reports an event."""
        event = call.args[0]
        if isinstance(event, ast.Name):
            event = _assigned(event, function)
        assert isinstance(event, ast.Call)
        kind = ast.unparse(event.func).rpartition(".")[2]
        logger = self._logger(call) if len(call.args) > 1 else reporter.logger.name
        return line_of_event(getattr(events, kind), logger)

    def _logged(self, call: ast.Call, function: _Function) -> list[Line]:
        """Return a line for each level that a call has."""
        assert isinstance(call.func, ast.Attribute)
        method, args = call.func.attr, list(call.args)
        levels = [LEVELS.get(method, method.upper())]
        if method == "log":
            level = args.pop(0)
            source = _assigned(level, function) if isinstance(level, ast.Name) else level
            levels = re.findall(r"logging\.([A-Z]+)", ast.unparse(source))
        if not isinstance(args[0], ast.Constant):
            raise self._fail(call, "the message is not a constant")
        message = template(ast.literal_eval(args[0]))
        extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
        if extra is None:
            raise self._fail(call, "no extra")
        event, names = self._extra(extra, function)
        if not event:
            raise self._fail(call, "no event")
        logger, fields = self._logger(call), frozenset(names - {"manager"})
        return [Line(logger, level, message, event, fields) for level in levels]

    def _extra(self, node: ast.expr, function: _Function) -> tuple[str, set[str]]:
        """Return the event and the names of the fields that an expression for `extra` makes."""
        if isinstance(node, ast.Name):
            return self._extra(_assigned(node, function), function)
        if not isinstance(node, ast.Call):
            raise self._fail(node, "extra is neither a call nor a name")
        maker = ast.unparse(node.func).rpartition(".")[2]
        names = {word.arg for word in node.keywords if word.arg}
        event = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ""
        if maker == "fields":
            return event, names
        # A helper of the module calls `fields` for its callers.
        helper = next(function for function in self.functions if function.name == maker)
        returned = helper.body[-1]
        assert isinstance(returned, ast.Return), maker
        assert returned.value is not None
        same, more = self._extra(returned.value, helper)
        return event or same, names | more


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


def line_of_event(kind: type[events.Event], logger: str) -> Line:
    """Return the line that goes with events of a kind."""
    level = reporter.LEVELS.get(kind, logging.INFO)
    names = frozenset(item.name for item in dataclass_fields(kind)) - {"at", "manager"}
    return Line(logger, logging.getLevelName(level), SENTENCE, kind.__name__, names)


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
    """Return pgmoor's own fields of a record, without the prefix."""
    return {
        key.removeprefix(PREFIX): value
        for key, value in vars(record).items()
        if key.startswith(PREFIX)
    }
