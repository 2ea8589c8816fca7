"""The content-addressed store: a file's name is the SHA-256 of its bytes, so that nothing in it can be wrong unnoticed.

    LLMOS_HOME/blobs/<first two digits>/<sha256>            read-only (0444), or a link to a file that another program keeps
    LLMOS_HOME/blobs/<first two digits>/<sha256>.verified   size, mtime and inode of the blob when its bytes last had that hash
    LLMOS_HOME/blobs/partial/<key>                          downloads and copies under way; never looked up by hash

A blob appears under its name by one rename, after its bytes were hashed and flushed: a kill leaves it there or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from llmos.errors import CorruptFile, InvalidValue, NotFound, StorageError
from llmos.infra.files import fsync_dir, fsync_file, make_dir, sha256_file, storage_errors, write_atomic

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE_BYTES = 4 << 20
READ_ONLY = 0o444
Stamp = tuple[int, int, int]  # size in bytes, mtime in ns, inode


class BlobStore:
    """All blobs below one folder. Methods are safe to call from several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verdicts: dict[str, tuple[Stamp, bool]] = {}
        self._reading = threading.Lock()  # who wants the same large blob checked waits for the one that reads it

    def path(self, sha256: str) -> Path:
        """Where the blob of that hash is or would be. Raises InvalidValue for anything but 64 lower-case hex digits."""
        if not _SHA256.fullmatch(sha256):
            raise InvalidValue(f"{sha256!r} is not a SHA-256: 64 lower-case hex digits are wanted.", param="sha256")
        return self.root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the blob is there; a link whose file is gone is not."""
        return self.path(sha256).is_file()

    def partial(self, key: str) -> Path:
        """A place for a file under way that a later attempt with the same key finds again. Its folder exists."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", key)[:60].lstrip(".") + "-" + hashlib.sha256(key.encode()).hexdigest()[:16]
        return make_dir(self.root / "partial") / name

    def partials(self) -> list[Path]:
        """What is under way or was left behind by a killed process, for `gc`."""
        return sorted((self.root / "partial").glob("*"))

    def add_file(self, source: Path, *, sha256: str | None = None, move: bool = False) -> str:
        """Takes the file in and returns its hash. move=True gives the source up (one rename where the disk is the same).

        Raises CorruptFile when the bytes do not have the hash `sha256`; the store and the source are then as before.
        """
        with storage_errors(self.root):
            if move and source.stat().st_dev == make_dir(self.root).stat().st_dev and not source.is_symlink():
                found, place = sha256_file(source), source
            else:
                place = self.partial(f"copy-{secrets.token_hex(8)}")
                found = _copy_hashed(source, place)
            try:
                self._check(source, found, sha256)
                self._publish(place, found)
            finally:
                if place is not source:
                    place.unlink(missing_ok=True)
            if move:
                source.unlink(missing_ok=True)
        return found

    def adopt(self, source: Path, sha256: str) -> Path:
        """Refers to a file outside (the Hugging Face cache, say) in place, after checking it. Returns the blob's path.

        The file stays its owner's: when it goes, `has` is False again. Raises CorruptFile.
        """
        if self.sound(sha256):
            return self.path(sha256)
        target = source.resolve(strict=True)
        self._check(source, sha256_file(target), sha256)
        link = self.partial(f"link-{secrets.token_hex(8)}")
        link.symlink_to(target)
        self._rename(link, sha256)
        return self.path(sha256)

    def verify(self, sha256: str) -> bool:
        """Reads the whole blob and compares. Raises NotFound when there is none."""
        if not self.has(sha256):
            raise NotFound(f"There is no blob {sha256}.")
        stamp = self._stamp(sha256)  # taken first: what changes while it is read has another one afterwards
        right = sha256_file(self.path(sha256)) == sha256
        self._note(sha256, stamp, right=right)
        return right

    def sound(self, sha256: str) -> bool:
        """Whether the blob is there with the right bytes. They are read unless this very file (size, mtime, inode) was read
        before, by this process or another, and was right."""
        if not self.has(sha256):
            return False
        known = self._verdict(sha256)
        if known is None:
            with self._reading:
                known = self._verdict(sha256)
                known = self.verify(sha256) if known is None else known
        return known

    def _stamp(self, sha256: str) -> Stamp:
        found = self.path(sha256).stat()
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _verdict(self, sha256: str) -> bool | None:
        """What is known of the file as it is now; None when it must be read."""
        stamp = self._stamp(sha256)
        known, right = self._verdicts.get(sha256, (None, False))
        if known == stamp:
            return right
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._record(sha256).read_bytes()) == [*stamp]:
                self._verdicts[sha256] = stamp, True
                return True
        return None

    def _note(self, sha256: str, stamp: Stamp, *, right: bool) -> None:
        self._verdicts[sha256] = stamp, right
        with contextlib.suppress(OSError, StorageError):  # in a store that is not ours to write, this process alone knows
            if right:
                write_atomic(self._record(sha256), json.dumps(stamp))
            else:
                self._record(sha256).unlink(missing_ok=True)

    def _record(self, sha256: str) -> Path:
        return self.path(sha256).with_suffix(".verified")

    def remove(self, sha256: str) -> None:
        """Removes the blob (or the link, never the file it leads to). A blob that is not there is no error."""
        path = self.path(sha256)
        self._record(sha256).unlink(missing_ok=True)
        if path.is_symlink() or path.exists():
            path.unlink(missing_ok=True)
            fsync_dir(path.parent)

    def __iter__(self) -> Iterator[str]:
        """The hashes of all blobs that are there, in order."""
        for path in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            if _SHA256.fullmatch(path.name) and path.is_file():
                yield path.name

    @staticmethod
    def _check(source: Path, found: str, wanted: str | None) -> None:
        if wanted is not None and found != wanted:
            raise CorruptFile(
                f"{source.name} has the SHA-256 {found}, wanted was {wanted}.",
                hint="It is damaged or another version; fetch it again.",
            )

    def _publish(self, place: Path, sha256: str) -> None:
        if self.sound(sha256) and not self.path(sha256).is_symlink():
            return
        place.chmod(READ_ONLY)
        fsync_file(place)
        self._rename(place, sha256)

    def _rename(self, place: Path, sha256: str) -> None:
        target = self.path(sha256)
        make_dir(target.parent)
        place.replace(target)
        fsync_dir(target.parent)
        self._note(sha256, self._stamp(sha256), right=True)


def _copy_hashed(source: Path, target: Path) -> str:
    """Copies and hashes in one pass."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(_PIECE_BYTES):
            digest.update(piece)
            writer.write(piece)
    shutil.copystat(source, target)
    return digest.hexdigest()
