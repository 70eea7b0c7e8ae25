"""The commands and their options; what each does is in a file of its own.

Exit status: 0 for good, 1 for not, 2 for what can't be run, 130 after Ctrl-C.
"""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Coroutine, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from pgmoor import ConfigError, __version__
from pgmoor.testing import ClusterError

from .alert_test import alert_test
from .check import check as check_hosts
from .demo.plain import Plain
from .demo.run import Options, make_board
from .demo.run import run as run_demo
from .demo.screen import Screen, save_svg

T = TypeVar("T")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    # Local variables in a traceback could hold a password.
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
TERMINATED = 143


class PgVersion(Enum):
    """The servers that come with the extra."""

    V16 = "16"
    V18 = "18"


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgmoor {__version__}")
        raise typer.Exit


@app.callback()
def pgmoor(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Keep an asyncio program connected to PostgreSQL."""


@app.command()
def demo(  # noqa: PLR0917 - typer makes them options
    plain: Annotated[
        bool, typer.Option("--plain", help="Print lines; so it does without a terminal, too.")
    ] = False,
    pg_version: Annotated[
        PgVersion, typer.Option(help="Which of the bundled PostgreSQL servers.")
    ] = PgVersion.V18,
    writers: Annotated[int, typer.Option(min=1, max=1000, help="Tasks that write.")] = 16,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results there.")
    ] = None,
    svg_file: Annotated[
        Path | None, typer.Option("--svg", help="Save a picture of the results there.")
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option("--log", help="Write what pgmoor logs there.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", hidden=True)] = False,
) -> None:
    """Break real PostgreSQL servers under a program that goes on writing.

    Starts a primary and two standbys in temporary directories; kills, freezes, demotes and
    restarts them while tasks write through pgmoor; proves that no acknowledged row was lost or
    doubled. Takes about half a minute. Exit status: 0 only if so, and all flowed again each time.
    """
    board = make_board(Options(int(pg_version.value), writers, quick))
    console = Console()
    lines = plain or not console.is_terminal or console.is_dumb_terminal
    display = Plain(board) if lines else Screen(board, console)
    with _logging_to(log_file), _failing_well():
        asyncio.run(_until_terminated(run_demo(board, display)))
    display.finish()
    if json_file is not None:
        json_file.write_text(json.dumps(board.to_dict(), indent=2) + "\n")
    if svg_file is not None:
        save_svg(board, svg_file)
    raise typer.Exit(0 if board.good else 1)


@app.command()
def check(
    conninfo: Annotated[
        str, typer.Argument(help="A libpq conninfo or URI; without it, the PG* variables.")
    ] = "",
    target: Annotated[
        str | None, typer.Option(help="What will do, in the words of target_session_attrs.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")] = 10.0,
) -> None:
    """Show the hosts behind a conninfo, and whether pgmoor can work with them.

    Exit status: 0 when a connection was made, 1 when not, 2 when the settings can't be used.
    """
    with _failing_well():
        ready = asyncio.run(
            _until_terminated(check_hosts(conninfo, target, timeout, Console(highlight=False)))
        )
    raise typer.Exit(0 if ready else 1)


@app.command("alert-test")
def try_alerts(
    urls: Annotated[
        list[str] | None,
        typer.Argument(
            envvar="PGMOOR_ALERTS",
            metavar="URL...",
            show_default=False,
            help="Apprise's URLs of the channels; in the variable, with spaces between them.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each channel.")] = 30.0,
) -> None:
    """Send a test message to each channel, and say what happened.

    The URLs are secrets: give them in PGMOOR_ALERTS where others can see the command line.
    Exit status: 0 when all took it, 1 when one did not, 2 when the settings can't be used.
    """
    with _failing_well():
        sent = asyncio.run(
            _until_terminated(alert_test(urls or [], timeout, Console(highlight=False)))
        )
    raise typer.Exit(0 if sent else 1)


@contextlib.contextmanager
def _failing_well() -> Iterator[None]:
    """Turn what may end a command early into one line and an exit status."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except asyncio.CancelledError:
        raise typer.Exit(TERMINATED) from None
    except (ClusterError, ConfigError) as error:
        typer.echo(f"pgmoor: {error}", err=True)
        raise typer.Exit(2) from None


async def _until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; SIGTERM cancels it as Ctrl-C does, so that no server is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


@contextlib.contextmanager
def _logging_to(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
    logger = logging.getLogger("pgmoor")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
