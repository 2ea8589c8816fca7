"""The one downloader of the library: takes a Plan of any source and puts its files into the blob store, checked.

Pieces are fetched a few at a time, in threads, and become files in the order of the plan. What was fetched stays under a
stable partial name until its blob is there, so a killed or cancelled pull goes on where it was.
"""

from __future__ import annotations

import shutil
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from llmos.errors import Cancelled, CorruptFile, NotFound, StorageError
from llmos.infra.blobs import BlobStore
from llmos.infra.fetch import Fetcher
from llmos.infra.files import free_disk_bytes, storage_errors
from llmos.infra.packages import extract
from llmos.library.base import ModelFile, Progress
from llmos.library.names import relative_path
from llmos.library.sources.base import Piece, Plan, RemoteFile
from llmos.library.sources.select import choose_files

Report = Callable[[Progress], None]
_RESERVE_BYTES = 256 << 20
_COPY_BYTES = 4 << 20
_AT_ONCE = 4  # pieces
_CONNECTIONS = 8  # over all of them; one alone has 4
_POLL_S = 0.1


class Meter:
    """Counts bytes over all pieces of a plan and reports at most ten times a second, with the time left at the mean rate.
    Threads may call it; reports come one after the other."""

    def __init__(self, total_bytes: int, report: Report | None) -> None:
        self.total_bytes = total_bytes
        self._report = report
        self._done: dict[str, int] = {}
        self._fresh_from: tuple[float, int] | None = None
        self._last = 0.0
        self._lock = threading.Lock()

    def count(self, what: str, done_bytes: int) -> None:
        """So much of a piece or file is here."""
        with self._lock:
            self._done[what] = done_bytes
            self._say("download", "")

    def finish(self, what: str, size_bytes: int) -> None:
        self.count(what, max(size_bytes, self._done.get(what, 0)))

    def tell(self, stage: str, message: str) -> None:
        with self._lock:
            self._say(stage, message)

    def _say(self, stage: str, message: str) -> None:
        at, done = time.monotonic(), sum(self._done.values())
        self._fresh_from = self._fresh_from or (at, done)
        if self._report is None or (at - self._last < 0.1 and not message and done < self.total_bytes):
            return
        self._last = at
        elapsed_s, fresh_bytes = at - self._fresh_from[0], done - self._fresh_from[1]
        left = max(self.total_bytes - done, 0)
        eta_s = left * elapsed_s / fresh_bytes if fresh_bytes > 0 and self.total_bytes else None
        self._report(Progress(stage=stage, done_bytes=done, total_bytes=max(self.total_bytes, done), eta_s=eta_s, message=message))


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
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._archives: dict[str, threading.Lock] = defaultdict(threading.Lock)  # by address: one archive may hold two pieces
        self._connections = 4

    def run(self) -> tuple[ModelFile, ...]:
        """All files, in the blob store. Raises StorageError before the first byte when the disk is too small."""
        self._check_disk()
        jobs = [(file, piece) for file in self.plan.files if not (self._has(file) or file.local) for piece in file.pieces]
        workers = max(1, min(_AT_ONCE, len(jobs)))
        self._connections = min(4, _CONNECTIONS // workers)
        with ThreadPoolExecutor(workers, thread_name_prefix="pull") as pool:
            try:
                fetched: dict[RemoteFile, list[Future[Path]]] = defaultdict(list)
                for file, piece in jobs:
                    fetched[file].append(pool.submit(self._fetch, file, piece))
                files = [found for file in self.plan.files for found in self._one(file, fetched.get(file, []))]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
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

    def _one(self, file: RemoteFile, fetched: list[Future[Path]]) -> list[ModelFile]:
        """One file of the plan, or all of an archive's folder, in the blob store. `fetched`: its pieces; [] when it is here."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(f"The pull of {self.plan.source} was cancelled.")
        wanted = self._wanted(file)
        places = [self._place(future) for future in fetched]
        if places and not file.path:
            return self._folder(file.pieces[0], places[0])
        if places:
            whole = places[0] if len(places) == 1 else self._join(places, file.path)
            sha256 = self.blobs.add_file(whole, sha256=wanted or None, move=True)
            for place in places:
                place.unlink(missing_ok=True)
        else:
            sha256 = self._take(file.local, wanted, in_place=file.in_place) if file.local and not self._has(file) else wanted
            self.meter.finish(file.path, file.download_bytes)
        return [self._taken(file.path, sha256)]

    def _place(self, future: Future[Path]) -> Path:
        """The piece, once it is there. Of several failures, the first one is raised: the others are its consequence."""
        while not wait([future], _POLL_S).done:
            if self.cancel is not None and self.cancel.is_set():
                self._stop.set()
        if self._failure is not None:
            raise self._failure
        return future.result()

    def _taken(self, path: str, sha256: str) -> ModelFile:
        return ModelFile(path=relative_path(path), sha256=sha256, size_bytes=self.blobs.path(sha256).stat().st_size)

    def _take(self, path: Path, wanted: str, *, in_place: bool) -> str:
        if in_place and wanted:
            self.blobs.adopt(path, wanted)
            return wanted
        return self.blobs.add_file(path, sha256=wanted or None)

    def _fetch(self, file: RemoteFile, piece: Piece) -> Path:
        """Runs in a thread: the piece on this disk, taken out of its archive unless all of the archive is wanted."""
        try:
            self.meter.tell("download", file.path)
            if piece.member and file.path:
                place = self._extracted(piece)
            else:
                place = self._download(piece, self._wanted(file) if len(file.pieces) == 1 and not piece.member else "")
            self.meter.finish(_key(piece), piece.size_bytes)
        except BaseException as problem:
            if not self._stop.is_set():
                self._failure = problem
            self._stop.set()
            raise
        return place

    def _download(self, piece: Piece, sha256: str = "") -> Path:
        """The bytes of one address under its partial name, whole and checked."""
        place = self.blobs.partial(f"{piece.sha256 or sha256}{piece.url}")
        self.fetcher.download(
            piece.url,
            place,
            sha256=piece.sha256 or sha256 or None,
            size_bytes=piece.size_bytes or None,
            headers=dict(self.plan.headers),
            progress=lambda done_bytes, _: self.meter.count(_key(piece), done_bytes),
            cancel=self._stop,
            connections=self._connections,
        )
        return place

    def _extracted(self, piece: Piece) -> Path:
        """The member of an archive; the archive does not stay."""
        member = self.blobs.partial(f"member:{piece.url}:{piece.member}")
        with self._archives[piece.url]:
            if not member.exists():
                archive = self._download(piece)
                with zipfile.ZipFile(archive) as opened:
                    extract(opened, _member(opened, piece.member), member)
                archive.unlink()
        return member

    def _join(self, places: list[Path], path: str) -> Path:
        whole = self.blobs.partial(f"joined:{self.plan.source}:{path}")
        with storage_errors(whole), whole.open("wb") as out:
            for place in places:
                self.meter.tell("assemble", path)
                with place.open("rb") as reader:
                    shutil.copyfileobj(reader, out, _COPY_BYTES)
        return whole

    def _folder(self, piece: Piece, archive: Path) -> list[ModelFile]:
        """The model files below a folder of one archive."""
        taken = []
        with zipfile.ZipFile(archive) as opened:
            inside = {info.filename.removeprefix(piece.member): info for info in opened.infolist() if not info.is_dir()}
            names = [name for name in inside if inside[name].filename.startswith(piece.member)]
            for name in choose_files(names).files:
                target = self.blobs.partial(f"member:{piece.url}:{piece.member}{name}")
                extract(opened, inside[name], target)
                sha256 = self.blobs.add_file(target, sha256=self.pins.get(name), move=True)
                taken.append(self._taken(name, sha256))
        archive.unlink()
        return taken


def _key(piece: Piece) -> str:
    return f"{piece.url} {piece.member}"


def _member(opened: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        return opened.getinfo(name)
    except KeyError:
        raise NotFound(f"The archive has no member {name!r}.", param="model") from None
