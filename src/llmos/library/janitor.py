"""What removes and checks: a model with the files nobody else needs, garbage of killed processes, damaged blobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmos.errors import Conflict
from llmos.infra.blobs import BlobStore
from llmos.library.base import ModelCard
from llmos.library.rows import ModelRows
from llmos.library.store import STORE_LOCK, ModelStore


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """One file of a model after its bytes were read. problem is "" when ok."""

    path: str
    sha256: str
    ok: bool
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What was (dry_run: would be) removed: blobs and folders of no model, unfinished downloads, and their bytes."""

    blobs: tuple[str, ...]
    folders: tuple[str, ...]
    partials: tuple[str, ...]
    freed_bytes: int
    dry_run: bool


def verify_model(store: ModelStore, card: ModelCard) -> list[FileVerdict]:
    """Reads every file and compares its SHA-256."""
    problems = [(file, store.problem(card.version, file, read=True)) for file in card.files]
    return [FileVerdict(path=file.path, sha256=file.sha256, ok=not problem, problem=problem) for file, problem in problems]


def drop_model(store: ModelStore, rows: ModelRows, card: ModelCard) -> int:
    """Removes row, folder and unshared blobs, in this order. Returns the bytes freed; what a running pull may need stays for gc."""
    rows.remove(card)
    return drop_unused(store, rows, [file.sha256 for file in card.files], version=card.version)


def drop_unused(store: ModelStore, rows: ModelRows, blobs: Iterable[str], *, version: str = "") -> int:
    """Removes those blobs, and the folder of the version, that no model has. Does nothing while a pull is running, since it may
    count on them."""
    try:
        with store.lock(STORE_LOCK, wait=False):
            if version and all(card.version != version for card in rows.of_all.all()):
                store.remove_folder(version)
            return _remove(store.blobs, set(blobs) - _used(rows))
    except Conflict:
        return 0


def collect_garbage(store: ModelStore, rows: ModelRows, *, dry_run: bool) -> GcReport:
    """Raises Conflict while a pull is running."""
    with store.lock(STORE_LOCK, wait=False):
        versions = {card.version for card in rows.of_all.all()}
        folders = [store.folder(version) for version in store.versions() if version not in versions] + store.leftovers()
        blobs = sorted(set(store.blobs) - _used(rows))
        partials = store.blobs.partials()
        freed_bytes = sum(_size(store.blobs.path(sha256)) for sha256 in blobs) + sum(_size(path) for path in partials)
        if not dry_run:
            for path in [*folders, *partials]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            _remove(store.blobs, blobs)
    return GcReport(
        blobs=tuple(blobs),
        folders=tuple(path.name for path in folders),
        partials=tuple(path.name for path in partials),
        freed_bytes=freed_bytes,
        dry_run=dry_run,
    )


def _used(rows: ModelRows) -> set[str]:
    return {file.sha256 for card in rows.of_all.all() for file in card.files}


def _remove(blobs: BlobStore, unused: Iterable[str]) -> int:
    freed_bytes = 0
    for sha256 in sorted(unused):
        freed_bytes += _size(blobs.path(sha256))
        blobs.remove(sha256)
    return freed_bytes


def _size(path: Path) -> int:
    """Bytes on this disk that go with the file: 0 for a link to somebody else's, and for what is not there."""
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
