"""The `pgmoor` command; also `python -m pgmoor`.

What it does is in `pgmoor._cli`, which needs an extra: without it, this says which.
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
            'The pgmoor command needs an extra; install it with: pip install "pgmoor[demo]"\n'
        )
        sys.exit(2)
    app(prog_name="pgmoor")


if __name__ == "__main__":
    main()
