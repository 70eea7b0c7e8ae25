"""The entry point of the `pgmoor` command and of `python -m pgmoor`.

The commands are in `pgmoor._cli`. If the packages it needs are missing, this names the extra.
"""

import sys

NEEDED = frozenset({"typer", "rich"})


def main() -> None:
    """Run the command line."""
    try:
        from ._cli.app import app  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        sys.stderr.write(
            'pgmoor: typer and rich are missing; install them with: pip install "pgmoor[cli]"\n'
        )
        sys.exit(2)
    app(prog_name="pgmoor")


if __name__ == "__main__":
    main()
