"""A PostgreSQL server of a test's own, on a socket in a folder of its own."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["missing", "postgres"]


def _binaries() -> Path | None:
    """Debian keeps them off the path."""
    found = [*sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True), shutil.which("initdb") or ""]
    return next((Path(os.path.realpath(one)).parent for one in found if one), None)


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def missing() -> str | None:
    """Why no server can be started here; None if one can."""
    if _binaries() is None:
        return "no PostgreSQL server is installed here (apt-get install postgresql)"
    return (
        "PostgreSQL does not run as root, and there is no other user" if os.getuid() == 0 and _user() is None else None
    )


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of a fresh, empty server; it is gone afterwards."""
    binaries, user = _binaries(), _user()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(
            command,
            user=user,
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )

    if user is not None:
        shutil.chown(folder, user)
    try:
        run(str(binaries / "initdb"), "-D", str(data), "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses='' -c fsync=off -c max_connections=30 -k {folder}"
        control = str(binaries / "pg_ctl")
        run(control, "-D", str(data), "-w", "-t", "60", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            run(control, "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
