"""Where model files lie on disk, and in which order they appear and go, so that a kill at any moment leaves old or new (P3).

    LLMOS_HOME/blobs/…                   content, by hash (infra/blobs.py)
    LLMOS_HOME/models/<version>/<path>   links to blobs, with the names engines expect
    LLMOS_HOME/staging-<random>/<name>   a model being put together, as deep as the above so that its links stay right
    LLMOS_HOME/locks/<name>              advisory locks between processes and threads

A model exists by its database row alone. Adding: blobs, links, folder renamed, row. Removing: row, folder, blobs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmos.errors import Cancelled, Conflict
from llmos.infra.blobs import BlobStore
from llmos.infra.files import fsync_dir, make_dir
from llmos.library.base import ModelFile
from llmos.library.names import relative_path

_POLL_S = 0.05
STORE_LOCK = "store"  # shared by pulls, held alone by what removes blobs


class ModelStore:
    """The files below one LLMOS_HOME. Knows nothing of names; the database does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.blobs = BlobStore(home / "blobs")
        self.models = home / "models"
        self.locks = home / "locks"

    def folder(self, version: str) -> Path:
        """Where the version's links are; it need not exist."""
        return self.models / version

    def is_whole(self, version: str, files: Iterable[ModelFile]) -> bool:
        """Whether each file leads to its blob, and that is sound."""
        return all(self.problem(version, file) == "" for file in files)

    def problem(self, version: str, file: ModelFile, *, read: bool = False) -> str:
        """What is wrong with one file, or "". Its content is hashed when it changed since that was last done; read=True: always."""
        link = self.folder(version) / file.path
        if not link.is_file() or not self.blobs.has(file.sha256):
            return "missing"
        if link.stat().st_size != file.size_bytes:
            return f"has {link.stat().st_size:,} bytes instead of {file.size_bytes:,}"
        if not (self.blobs.verify(file.sha256) if read else self.blobs.sound(file.sha256)):
            return "its content has another SHA-256"
        return ""

    def stage(self, files: Iterable[ModelFile], label: str) -> Path:
        """A new staging folder with a link for each file; `label` is its last name, for messages."""
        stage = make_dir(self.home / f"staging-{secrets.token_hex(8)}" / label)
        for file in files:
            link = stage / relative_path(file.path)
            make_dir(link.parent)
            link.symlink_to(os.path.relpath(self.blobs.path(file.sha256), link.parent))
            fsync_dir(link.parent)
        return stage

    def discard(self, stage: Path) -> None:
        shutil.rmtree(stage.parent, ignore_errors=True)

    def publish(self, stage: Path, version: str, files: Iterable[ModelFile]) -> Path:
        """Gives the staged folder its name. A whole folder of that version, the same content by definition, stays untouched:
        another name may live in it."""
        target, files = self.folder(version), tuple(files)
        if target.is_dir() and not self.is_whole(version, files):
            self._drop(target)
        try:
            stage.rename(make_dir(self.models) / version)
        except OSError:
            if not self.is_whole(version, files):
                raise
        fsync_dir(self.models)
        self.discard(stage)
        return target

    def remove_folder(self, version: str) -> None:
        if self.folder(version).is_dir():
            self._drop(self.folder(version))

    def _drop(self, folder: Path) -> None:
        """Renamed first, so that no half-deleted folder stands under a version's name."""
        aside = self.models / f".removed-{secrets.token_hex(8)}"
        folder.rename(aside)
        fsync_dir(self.models)
        shutil.rmtree(aside)

    def versions(self) -> list[str]:
        return sorted(path.name for path in self.models.glob("[0-9a-f]*") if path.is_dir())

    def leftovers(self) -> list[Path]:
        """Staging and removed folders of processes that were killed."""
        return sorted([*self.home.glob("staging-*"), *self.models.glob(".removed-*")])

    @contextmanager
    def lock(self, name: str, *, shared: bool = False, wait: bool = True, cancel: threading.Event | None = None) -> Iterator[None]:
        """Holds the lock while the block runs. It ends with its process. wait=False raises Conflict when somebody has it."""
        path = make_dir(self.locks) / hashlib.sha256(name.encode()).hexdigest()[:32]
        with path.open("a") as handle:
            while not _try_lock(handle.fileno(), shared=shared):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("Cancelled while waiting for another download of the same model.")
                if not wait:
                    raise Conflict("The library is being changed by another process.", hint="Try again when it has finished.")
                time.sleep(_POLL_S)
            yield


def _try_lock(handle: int, *, shared: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
