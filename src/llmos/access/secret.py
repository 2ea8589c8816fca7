"""The server's own secret: what makes a key in the database useless to who steals the database.

LLMOS_HOME/secret holds 256 random bits, readable by its owner only, made on first use. Servers that share one database need the
same one, or a key made by one is unknown to the other: LLMOS_SECRET sets it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from llmos.errors import StorageError
from llmos.infra.files import fsync_dir, make_dir, storage_errors
from llmos.settings import Settings

FILE = "secret"
_MIN_CHARS = 32


class Secret:
    """Makes digests; each use has a name of its own, so that a digest of one is none of another."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of(cls, settings: Settings) -> Secret:
        """LLMOS_SECRET, or the file's, which is made when it is missing. Raises StorageError."""
        return cls((settings.secret or _read(settings.home / FILE)).encode())

    def digest(self, use: str, text: str) -> str:
        """HMAC-SHA256 in hex."""
        return hmac.new(self._secret, f"{use}\0{text}".encode(), hashlib.sha256).hexdigest()


def _read(path: Path) -> str:
    with storage_errors(path):
        if not path.exists():
            _make(path)
        found = path.read_text(encoding="ascii", errors="replace").strip()
    if len(found) < _MIN_CHARS:
        raise StorageError(f"{path} does not hold a secret.", hint="Restore it; a new one makes all keys invalid.")
    return found


def _make(path: Path) -> None:
    """Writes it beside its place and links it there: of two processes at once one wins, and none reads half a file."""
    make_dir(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(secrets.token_hex(32))
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)
