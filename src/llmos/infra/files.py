"""Files that survive a power cut: written beside their place, flushed, renamed, and the folder flushed too.

Everything LLMOS keeps on disk is written through here, so that a reader sees the old file or the new one, never half of one
(promises P3 and P5), and so that a full or failing disk is one clear error (P7).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from llmos.errors import LLMOSError, OverCapacity, StorageError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
_HANDLES = {errno.EMFILE, errno.ENFILE}
HANDLES_RETRY_S = 1.0


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns a full, read-only or failing disk into StorageError and too many open files into OverCapacity; else nothing."""
    try:
        yield
    except OSError as problem:
        told = told_storage_error(problem, path)
        if told is None:
            raise
        raise told from problem


def told_storage_error(problem: OSError, path: Path) -> LLMOSError | None:
    """What a full, read-only or failing disk at `path`, or too many open files, is for the user; None for other errors."""
    if problem.errno in _HANDLES:
        return OverCapacity(
            f"Too many open files while working on {path}.", hint="Raise the limit (ulimit -n).", retry_after_s=HANDLES_RETRY_S
        )
    if problem.errno in _DISK:
        return StorageError(
            f"Cannot write {path}: {problem.strerror}; {_free_or_zero(path):,} bytes are free there.",
            hint="Free some space, or set LLMOS_HOME to a folder on another disk.",
        )
    return None


def _free_or_zero(path: Path) -> int:
    try:
        return free_disk_bytes(path)
    except OSError:
        return 0


def fsync_dir(path: Path) -> None:
    """Makes the names in the folder durable (a rename or unlink is not, before this)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Makes the file's bytes durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_dir(path: Path) -> Path:
    """The folder, with missing parents made durably. Returns it."""
    with storage_errors(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            fsync_dir(folder.parent)
    return path


def write_atomic(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Replaces the file at once and durably; str is written as UTF-8. A kill at any moment leaves the old file or the new one.

    Raises StorageError when the disk is full or failing.
    """
    body = data.encode() if isinstance(data, str) else data
    make_dir(path.parent)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    with storage_errors(path):
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(body)
                out.flush()
                os.fchmod(out.fileno(), mode)
                os.fsync(out.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_dir(path.parent)


def free_disk_bytes(path: Path) -> int:
    """Bytes a normal user may still write on the disk that holds `path`, which need not exist yet."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def sha256_file(path: Path) -> str:
    """Lower-case hex digest of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
