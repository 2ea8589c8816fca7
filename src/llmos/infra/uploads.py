"""Files that users send and jobs make, each of one project: the bytes as blobs below LLMOS_HOME/files, the rest as rows.

A file is there when its row is. Two files with equal bytes share a blob; who adds or removes one holds the folder's lock, so that
a blob never goes while a row that needs it is being written. A file whose time is over is gone for every reader at once; its row
and bytes go with the next sweep.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock

from llmos.errors import InvalidValue, NotFound
from llmos.infra.blobs import BlobStore
from llmos.infra.database import Database
from llmos.infra.files import make_dir
from llmos.infra.tables import files

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")  # that a user may give
OUTPUT = "batch_output"  # of what a batch made
MAX_NAME = 255
SWEEP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One row. created_by: id of a key, "" for the local user. Times are UTC in ISO 8601; expires_at None: it stays."""

    id: str
    project: str
    filename: str
    purpose: str
    size_bytes: int
    sha256: str
    created_by: str
    created_at: str
    expires_at: str | None


def utc_after(seconds: float = 0.0) -> str:
    """The time in so many seconds, as it is written in rows."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def plain_name(name: str) -> str:
    """The last part of what a client calls its file, without what could confuse a log or a header."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f\"]", "_", last).strip()[-MAX_NAME:] or "file"


class Uploads:
    """Safe to use from several threads and processes at once. `project` None means whichever."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.blobs = BlobStore(root)
        self._swept = 0.0

    def place(self) -> Path:
        """Where a file under way is written before `add`; the caller removes it when it does not get that far."""
        return self.blobs.partial(f"upload-{secrets.token_hex(12)}")

    def add(
        self,
        source: Path,
        *,
        filename: str,
        purpose: str,
        project: str,
        created_by: str = "",
        expires_in_s: float | None = None,
        file_id: str | None = None,
    ) -> StoredFile:
        """Takes the file in; `source` is given up. It is durable when this returns.

        file_id: for files that a job makes under a name it can find again: when it is there already, that one is returned and
        the source dropped. Raises StorageError.
        """
        self.sweep()
        with self._lock():
            if file_id is not None:
                with contextlib.suppress(NotFound):
                    known = self.get(file_id)
                    source.unlink(missing_ok=True)
                    return known
            size_bytes = source.stat().st_size
            row = StoredFile(
                id=file_id or f"file-{time.time_ns():016x}{secrets.token_hex(6)}",
                project=project,
                filename=plain_name(filename),
                purpose=purpose,
                size_bytes=size_bytes,
                sha256=self.blobs.add_file(source, move=True),
                created_by=created_by,
                created_at=utc_after(),
                expires_at=None if expires_in_s is None else utc_after(expires_in_s),
            )
            with self.database.begin() as connection:
                connection.execute(sa.insert(files).values(**{name: getattr(row, name) for name in StoredFile.__slots__}))
        return row

    def get(self, file_id: str, project: str | None = None) -> StoredFile:
        """Raises NotFound: unknown, of another project, or past its time."""
        with self.database.begin(read_only=True) as connection:
            found = connection.execute(sa.select(files).where(files.c.id == file_id, *_visible(project))).one_or_none()
        if found is None:
            raise NotFound(f"There is no file {file_id!r}.", param="file_id")
        return _stored(found)

    def path(self, file_id: str, project: str | None = None) -> Path:
        """Where its bytes are; they stay as they are until the file is removed. Raises NotFound."""
        stored = self.get(file_id, project)
        if not self.blobs.has(stored.sha256):
            raise NotFound(f"The bytes of the file {file_id!r} are gone from this machine.", param="file_id")
        return self.blobs.path(stored.sha256)

    def list(
        self,
        project: str | None = None,
        *,
        purpose: str | None = None,
        limit: int = 100,
        after: str = "",
        newest_first: bool = True,
    ) -> list[StoredFile]:
        """By time of creation, at most `limit` of them, those that follow the file `after`. Raises NotFound for an `after` unknown."""
        wanted = sa.select(files).where(*_visible(project))
        if purpose:
            wanted = wanted.where(files.c.purpose == purpose)
        order = sa.tuple_(files.c.created_at, files.c.id)
        if after:
            last = self.get(after, project)
            edge = sa.tuple_(sa.literal(last.created_at), sa.literal(last.id))
            wanted = wanted.where(order < edge if newest_first else order > edge)
        keys = (files.c.created_at, files.c.id)
        wanted = wanted.order_by(*(key.desc() if newest_first else key.asc() for key in keys)).limit(limit)
        with self.database.begin(read_only=True) as connection:
            return [_stored(row) for row in connection.execute(wanted)]

    def remove(self, file_id: str, project: str | None = None) -> None:
        """Row first, then the bytes when no other file has them. Raises NotFound."""
        with self._lock():
            self._drop([self.get(file_id, project)])

    def used_bytes(self, *, project: str | None = None, created_by: str | None = None) -> int:
        """Bytes of all files of a project or a key, each file counted in full. For quotas."""
        wanted = sa.select(sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0)).where(*_visible(project))
        if created_by is not None:
            wanted = wanted.where(files.c.created_by == created_by)
        with self.database.begin(read_only=True) as connection:
            return int(connection.execute(wanted).scalar_one())

    def sweep(self, *, now: bool = False) -> int:
        """Removes what is past its time, once a minute at most unless `now`. Returns how many."""
        if not now and time.monotonic() - self._swept < SWEEP_S and self._swept:
            return 0
        self._swept = time.monotonic()
        over = sa.select(files).where(files.c.expires_at.is_not(None), files.c.expires_at <= utc_after())
        with self._lock():
            with self.database.begin(read_only=True) as connection:
                gone = [_stored(row) for row in connection.execute(over)]
            self._drop(gone)
        return len(gone)

    def _drop(self, gone: Iterable[StoredFile]) -> None:
        """Under the lock."""
        for stored in gone:
            same = sa.select(sa.func.count()).select_from(files).where(files.c.sha256 == stored.sha256)
            with self.database.begin() as connection:
                connection.execute(sa.delete(files).where(files.c.id == stored.id))
                shared = connection.execute(same).scalar_one() > 0
            if not shared:
                self.blobs.remove(stored.sha256)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with FileLock(make_dir(self.blobs.root) / ".lock"):
            yield


def _visible(project: str | None) -> list[Any]:
    """What a reader may see: of the project, and not past its time."""
    alive = sa.or_(files.c.expires_at.is_(None), files.c.expires_at > utc_after())
    return [alive] if project is None else [alive, files.c.project == project]


def _stored(row: Any) -> StoredFile:
    return StoredFile(**{name: getattr(row, name) for name in StoredFile.__slots__})


def check_purpose(purpose: str) -> str:
    """Raises InvalidValue with the purposes a user may give."""
    if purpose not in PURPOSES:
        raise InvalidValue(f"The purpose {purpose!r} is not known.", param="purpose", hint=f"One of {', '.join(PURPOSES)}.")
    return purpose
