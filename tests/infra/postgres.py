"""A real PostgreSQL server for the tests: Debian's binaries, a Unix socket in a temporary folder, a user that is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def binaries() -> Path | None:
    """The folder with initdb and postgres, the newest version first."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    return next((folder for folder in [*folders, *([Path(found).parent] if found else [])] if (folder / "postgres").exists()), None)


def _user() -> pwd.struct_passwd | None:
    """Whom to run it as: PostgreSQL refuses root. None: ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Runs one and gives its URL. Raises FileNotFoundError when no server is installed."""
    folder = binaries()
    if folder is None:
        raise FileNotFoundError("no PostgreSQL server is installed (apt-get install postgresql)")
    user = _user()
    home = Path(tempfile.mkdtemp(prefix="llmos-pg-", dir="/tmp"))  # a socket's path must be short
    identity: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    if user:
        os.chown(home, user.pw_uid, user.pw_gid)
    environ = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(home)}
    data = home / "data"
    init: list[str | Path] = [folder / "initdb", "-D", data, "-U", "llmos", "--auth=trust", "--no-sync", "-E", "UTF8"]
    try:
        subprocess.run(init, check=True, capture_output=True, env=environ, cwd=home, **identity)
        command: list[str | Path] = [folder / "postgres", "-D", data, "-k", home, "-c", "listen_addresses=", "-c", "fsync=off"]
        process = subprocess.Popen(command, env=environ, cwd=home, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **identity)
        try:
            ready: list[str | Path] = [folder / "pg_isready", "-h", home, "-t", "30"]
            while subprocess.run(ready, capture_output=True, check=False, env=environ).returncode != 0:
                if process.poll() is not None:
                    raise RuntimeError(f"postgres ended with {process.returncode}")
            yield f"postgresql://llmos@/postgres?host={home}"
        finally:
            process.terminate()
            process.wait(timeout=60)
    finally:
        shutil.rmtree(home, ignore_errors=True)
