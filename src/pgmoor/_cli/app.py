"""The commands and their options; what each does is in a file of its own.

Exit status: 0 for success, 1 for failure, 2 for unusable settings, 130 after SIGINT (Ctrl-C) and
143 after SIGTERM.
"""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pgmoor import __version__
from pgmoor._core.work.keys import INSTALL_SQL

from .advice import Plan
from .alert_test import alert_test
from .check import Wanted
from .check import check as check_hosts
from .demo.film import make_film
from .demo.movie import draw
from .demo.plain import Plain
from .demo.run import Options, make_board
from .demo.run import run as play_demo
from .demo.screen import Screen
from .install import install as install_table
from .running import logging_to, refusals, run
from .watch import Watched, WatchLines, WatchScreen
from .watch import watch as watch_hosts

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    # Local variables in a traceback could contain a password.
    pretty_exceptions_enable=False,
)


class PgVersion(Enum):
    """The servers that come with the extra."""

    V16 = "16"
    V18 = "18"


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgmoor {__version__}")
        raise typer.Exit


Conninfo = Annotated[
    str,
    typer.Argument(
        show_default=False,
        help="A libpq connection string or URI. Default: the PG* environment variables.",
    ),
]

Hosts = Annotated[
    str | None,
    typer.Option(
        metavar="H1,H2",
        help="Use these hosts instead of those in the connection string, each with its port if it"
        " needs one.",
    ),
]
Target = Annotated[
    str | None, typer.Option(help="Which hosts may be used, as in target_session_attrs.")
]


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
        bool, typer.Option("--plain", help="Print lines of text; the default without a terminal.")
    ] = False,
    pg_version: Annotated[
        PgVersion, typer.Option(help="Which PostgreSQL to start.")
    ] = PgVersion.V18,
    writers: Annotated[int, typer.Option(min=1, max=1000, help="How many tasks write.")] = 16,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
    svg_file: Annotated[
        Path | None,
        typer.Option("--svg", help="Save a film of the run to this file. It plays in browsers."),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option("--log", help="Write pgmoor's log to this file.")
    ] = None,
    by_run: Annotated[
        bool, typer.Option("--run", help="Write with run(): it repeats what is safe to repeat.")
    ] = False,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="LIBRARY",
            help="Compare with another library on the same servers: psycopg_pool, asyncpg or"
            " sqlalchemy.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", hidden=True)] = False,
) -> None:
    """Break real PostgreSQL servers under a program that keeps writing.

    Starts a primary and two standbys in temporary directories. Kills, freezes, demotes and
    restarts them while tasks write through pgmoor. Counts the rows at the end: none may be lost
    or written twice. Takes half a minute; with another library, a minute.

    Exit status: 0 if pgmoor recovered from every fault, lost no row and wrote none twice. 1 if
    not. 2 if the servers don't start or the other library is missing.
    """
    for file in (json_file, svg_file, log_file):
        if file is not None and not file.parent.is_dir():
            raise typer.BadParameter(f"there is no directory {file.parent}; make it first")
    options = Options(int(pg_version.value), writers, quick, beside)
    with refusals():
        board = make_board(options)
    console = Console()
    display = Plain(board) if _as_lines(console, plain) else Screen(board, console)
    with logging_to(log_file):
        run(play_demo(board, display, by_run=by_run))
    display.finish()
    if json_file is not None:
        json_file.write_text(json.dumps(board.to_dict(), indent=2) + "\n")
    if svg_file is not None:
        svg_file.write_text(draw(make_film(board)))
    raise typer.Exit(0 if board.good else 1)


@app.command()
def check(  # noqa: PLR0917 - typer makes them options
    conninfo: Conninfo = "",
    hosts: Hosts = None,
    target: Target = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Limit in seconds for hosts that don't answer.")
    ] = 10.0,
    max_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="Your max_size plus max_overflow. Tells whether the servers allow as many"
            " connections.",
        ),
    ] = 10,
    programs: Annotated[
        int, typer.Option(min=1, help="How many processes run your program, each with a pool.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show your hosts, whether pgmoor can use them, and server settings that will hurt.

    Ends as soon as every host has answered or refused. Prints no password.

    Exit status: 0 if a connection was made, whatever else was found. 1 if not. 2 if the settings
    can't be used.
    """
    wanted = Wanted(conninfo, _listed(hosts), target, timeout, Plan(max_size, programs))
    ready = run(check_hosts(wanted, Console(highlight=False), as_json=as_json))
    raise typer.Exit(0 if ready else 1)


@app.command()
def watch(  # noqa: PLR0917 - typer makes them options
    conninfo: Conninfo = "",
    hosts: Hosts = None,
    target: Target = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Limit in seconds for each answer.")
    ] = 5.0,
    interval: Annotated[float, typer.Option(min=0.01, help="Seconds between two queries.")] = 0.1,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print lines of text; the default without a terminal.")
    ] = False,
) -> None:
    """Show your hosts live, with events, and whether a program would get its answers.

    Sends SELECT 1 every --interval seconds to the host that pgmoor would use. Ctrl-C ends it.

    Exit status: 130 after Ctrl-C. 2 if the settings can't be used.
    """
    watched = Watched()
    console = Console()
    display = WatchLines(watched) if _as_lines(console, plain) else WatchScreen(watched, console)
    wanted = Wanted(conninfo, _listed(hosts), target, timeout)
    try:
        run(watch_hosts(wanted, watched, display, interval))
    finally:
        if watched.health is not None:
            display.finish()


@app.command()
def install(
    conninfo: Conninfo = "",
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL instead of running it.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Limit in seconds.")] = 10.0,
) -> None:
    """Make the table pgmoor.transactions for idempotency keys, unless it is there.

    Your role must be allowed to create a schema in the database. Programs need USAGE on the schema,
    and SELECT, INSERT, UPDATE and DELETE on the table.

    Exit status: 0 if the table is there now. 1 if not. 2 if the settings can't be used.
    """
    if sql:
        typer.echo(INSTALL_SQL, nl=False)
        return
    done = run(install_table(conninfo, timeout, Console(highlight=False)))
    raise typer.Exit(0 if done else 1)


@app.command("alert-test")
def try_alerts(
    urls: Annotated[
        list[str] | None,
        typer.Argument(
            envvar="PGMOOR_ALERTS",
            metavar="URL...",
            show_default=False,
            help="Apprise URLs of your channels. Separate them by spaces in the variable.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Limit in seconds for each channel.")
    ] = 30.0,
) -> None:
    """Send a test message to each alert channel, and show which accepted it.

    The URLs are secrets. Put them into PGMOOR_ALERTS if others can see your command line.

    Exit status: 0 if all channels accepted it. 1 if one did not. 2 if the settings can't be used.
    """
    sent = run(alert_test(urls or [], timeout, Console(highlight=False)))
    raise typer.Exit(0 if sent else 1)


def _as_lines(console: Console, plain: bool) -> bool:
    return plain or not console.is_terminal or console.is_dumb_terminal


def _listed(hosts: str | None) -> list[str]:
    return [] if hosts is None else [host.strip() for host in hosts.split(",")]
