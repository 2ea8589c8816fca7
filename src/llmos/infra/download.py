"""One large file over HTTP: in pieces, several at once, resumed after a kill, checked, and there only when it is whole.

    target          does not exist, or is complete
    target.part     the bytes so far, at their final offsets; also the lock between two programs that want the same file
    target.state    JSON: which version of the file (ETag or Last-Modified), its size, which chunks are on disk

A chunk is recorded after its bytes are flushed. Every request after the first says If-Range, so that a file that changed on
the server starts anew and is never a mix (RFC 9110, sections 13.1.5 and 14). A server without ranges, or without anything to
tell versions apart when no hash is known either, is read in one piece.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from llmos.errors import Cancelled, CorruptFile, LimitExceeded, SourceError, StorageError
from llmos.infra.address import shown
from llmos.infra.connect import Connector, network_errors, status_error
from llmos.infra.files import free_disk_bytes, fsync_dir, make_dir, sha256_file, storage_errors, write_atomic

CHUNK_BYTES = 8 << 20
_RESERVE_BYTES = 64 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class _Changed(Exception):
    """The server has another version of the file than the one begun."""


@dataclass(slots=True)
class _State:
    """What is on disk. size_bytes 0 with no validator: nothing yet."""

    validator: str = ""
    size_bytes: int = 0
    chunk_bytes: int = 0
    done: list[int] = field(default_factory=list)

    @property
    def num_chunks(self) -> int:
        return -(-self.size_bytes // self.chunk_bytes)

    def missing(self) -> list[int]:
        return sorted(set(range(self.num_chunks)) - set(self.done))

    def bounds(self, chunk: int) -> tuple[int, int]:
        """First byte and the one after the last."""
        return chunk * self.chunk_bytes, min((chunk + 1) * self.chunk_bytes, self.size_bytes)

    def done_bytes(self) -> int:
        return sum(end - start for start, end in map(self.bounds, self.done))


@dataclass(slots=True)
class _Cursor:
    """The next byte to write and the one after the last."""

    at: int
    end: int


class Download:
    """One download; `run` once. Arguments as in Fetcher.download."""

    def __init__(
        self,
        connector: Connector,
        url: str,
        target: Path,
        *,
        sha256: str | None,
        size_bytes: int | None,
        max_bytes: int | None,
        headers: Mapping[str, str],
        progress: Callable[[int, int], None] | None,
        cancel: threading.Event,
        connections: int,
        chunk_bytes: int,
    ) -> None:
        self._connector, self._url, self._target, self._headers = connector, url, target, headers
        self._sha256, self._size_bytes, self._max_bytes, self._chunk_bytes = sha256, size_bytes, max_bytes, chunk_bytes
        self._progress, self._cancel, self._connections = progress, cancel, connections
        self._part = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".state")
        self._state = _State(chunk_bytes=chunk_bytes)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done_bytes = 0

    def run(self) -> str:
        """The SHA-256 of the complete file at the target."""
        make_dir(self._target.parent)
        with storage_errors(self._target), self._exclusive() as self._file:
            if self._sha256 and self._target.is_file() and sha256_file(self._target) == self._sha256:
                self._forget()
                return self._sha256
            self._load()
            try:
                return self._fill_and_check()
            finally:
                if not self._state.done:
                    self._forget()

    def _fill_and_check(self) -> str:
        """Begins once more when what was resumed turns out to be another version of the file."""
        resumed = bool(self._state.done)
        try:
            self._fill()
            return self._publish()
        except _Changed:
            pass
        except CorruptFile:
            if not resumed:
                raise
        self._reset()
        try:
            self._fill()
            return self._publish()
        except _Changed:
            raise SourceError(f"{shown(self._url)} changes while it is read.", hint="Try again later.") from None

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[int]:
        """The .part file, open and locked; waits for another program that is at it."""
        while True:
            file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if self._cancel.wait(0.1):
                        raise Cancelled("The download was cancelled.") from None
                    continue
                if not self._part.exists() or self._part.stat().st_ino != os.fstat(file).st_ino:
                    continue  # the other program has finished and renamed it
                yield file
                return
            finally:
                os.close(file)

    def _load(self) -> None:
        """Takes up the record of an earlier attempt where it fits what is there and what is wanted."""
        try:
            state = _State(**json.loads(self._record.read_bytes()))
        except (OSError, ValueError, TypeError):
            return
        fits = self._size_bytes in (None, state.size_bytes) and bool(state.validator or self._sha256)
        if fits and os.fstat(self._file).st_size == state.size_bytes:
            self._state, self._done_bytes = state, state.done_bytes()

    def _reset(self) -> None:
        """Starts from nothing."""
        self._state, self._done_bytes = _State(chunk_bytes=self._chunk_bytes), 0
        os.ftruncate(self._file, 0)
        self._record.unlink(missing_ok=True)

    def _forget(self) -> None:
        """Leaves nothing behind."""
        self._record.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)

    def _fill(self) -> None:
        if not self._state.size_bytes:
            self._connector.retry(self._begin, cancel=self._cancel)
        missing = self._state.missing()
        if not missing:
            return
        with ThreadPoolExecutor(min(self._connections, len(missing)), thread_name_prefix="download") as pool:
            try:
                for future in [pool.submit(self._chunk, chunk) for chunk in missing]:
                    future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                self._stop.clear()

    def _get(self, extra: Mapping[str, str]) -> httpx.Response:
        response = self._connector.open("GET", self._url, {**self._headers, **extra})
        if response.status_code >= 400 and response.headers.get("content-range") != "bytes */0":
            raise status_error(response)
        return response

    def _begin(self) -> None:
        """Asks for the first chunk, and learns from the answer what the file is and what the server can."""
        self._reset()
        with closing(self._get({"range": f"bytes=0-{self._chunk_bytes - 1}"})) as response:
            if response.status_code == 416:
                self._expect(0)
                return self._close_whole(0)
            if response.status_code != 206:
                return self._whole(response)
            _, _, size_bytes = self._content_range(response)
            validator = _validator(response)
            if validator or self._sha256:
                self._expect(size_bytes)
                os.ftruncate(self._file, size_bytes)
                self._state = _State(validator, size_bytes, self._chunk_bytes)
                return self._receive_first(response)
        with closing(self._get({})) as response:
            return self._whole(response)

    def _receive_first(self, response: httpx.Response) -> None:
        """The first chunk, from the answer that is open already. Lost on the way, it is asked for again with the others."""
        cursor = _Cursor(*self._state.bounds(0))
        try:
            self._receive(response, cursor)
        except SourceError:
            self._tell(-cursor.at)
        else:
            self._mark(0)

    def _whole(self, response: httpx.Response) -> None:
        """All bytes from one answer."""
        length = response.headers.get("content-length", "")
        if length.isdecimal() and "content-encoding" not in response.headers:
            self._expect(int(length))
        ends = (self._size_bytes, self._max_bytes, 1 << 62)
        cursor = _Cursor(0, next(end for end in ends if end is not None))
        self._receive(response, cursor, exactly=self._size_bytes is not None)
        self._close_whole(cursor.at)

    def _close_whole(self, size_bytes: int) -> None:
        self._state = _State("", size_bytes, max(size_bytes, 1), [0] if size_bytes else [])

    def _chunk(self, chunk: int) -> None:
        """One chunk by its own request; after a lost connection it goes on where it was."""
        cursor = _Cursor(*self._state.bounds(chunk))

        def ask() -> None:
            version = {"if-range": self._state.validator} if self._state.validator else {}
            with closing(self._get({"range": f"bytes={cursor.at}-{cursor.end - 1}", **version})) as response:
                if response.status_code != 206:
                    raise _Changed
                first, _, size_bytes = self._content_range(response)
                if (first, size_bytes) != (cursor.at, self._state.size_bytes):
                    raise _Changed
                self._receive(response, cursor)

        self._check_stop()
        self._connector.retry(ask, cancel=self._cancel)
        self._mark(chunk)

    def _receive(self, response: httpx.Response, cursor: _Cursor, *, exactly: bool = True) -> None:
        """Writes the body at the cursor. Short is a lost connection, long is an error."""
        with network_errors(response.request.url):
            for piece in response.iter_raw():
                self._check_stop()
                if cursor.at + len(piece) > cursor.end:
                    if cursor.end == self._max_bytes != self._size_bytes:
                        raise self._too_large()
                    raise SourceError(f"{shown(self._url)} sends more than the {cursor.end:,} bytes that were announced.")
                _write_at(self._file, piece, cursor.at)
                cursor.at += len(piece)
                self._tell(len(piece))
            if exactly and cursor.at < cursor.end:
                raise httpx.RemoteProtocolError(f"the answer ends {cursor.end - cursor.at:,} bytes early")

    def _mark(self, chunk: int) -> None:
        """Flushes the bytes, then says durably that they are there."""
        os.fdatasync(self._file)
        with self._lock:
            self._state.done.append(chunk)
            write_atomic(self._record, json.dumps(asdict(self._state)))

    def _tell(self, num_bytes: int) -> None:
        with self._lock:
            self._done_bytes += num_bytes
            if self._progress:
                self._progress(self._done_bytes, self._state.size_bytes or self._size_bytes or 0)

    def _check_stop(self) -> None:
        if self._cancel.is_set() or self._stop.is_set():
            raise Cancelled("The download was cancelled.", hint="What is there is kept; the next attempt goes on from it.")

    def _content_range(self, response: httpx.Response) -> tuple[int, int, int]:
        """First byte, last byte, size of the file."""
        match = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if not match:
            raise SourceError(f"{shown(self._url)} answers to a range request without a usable Content-Range.")
        first, last, size_bytes = map(int, match.groups())
        return first, last, size_bytes

    def _too_large(self) -> LimitExceeded:
        return LimitExceeded(f"{shown(self._url)} has more than {self._max_bytes:,} bytes, the most that may be brought.")

    def _expect(self, size_bytes: int) -> None:
        """The announced size against the wanted one, the most that may come, and the free disk."""
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            raise self._too_large()
        if self._size_bytes not in (None, size_bytes):
            raise CorruptFile(f"{shown(self._url)} has {size_bytes:,} bytes, wanted were {self._size_bytes:,}.")
        free = free_disk_bytes(self._target.parent)
        if size_bytes + _RESERVE_BYTES > free:
            raise StorageError(
                f"{self._target.name} needs {size_bytes:,} bytes and {_RESERVE_BYTES:,} to spare; {free:,} are free in "
                f"{self._target.parent}.",
                hint="Free some space, or set LLMOS_HOME to a folder on another disk.",
            )

    def _publish(self) -> str:
        """Checks the file, flushes it and gives it its name."""
        found = sha256_file(self._part)
        size_bytes = self._part.stat().st_size
        if self._sha256 not in (None, found) or self._size_bytes not in (None, size_bytes):
            self._reset()
            wanted = self._sha256 or f"{self._size_bytes:,} bytes"
            raise CorruptFile(
                f"{shown(self._url)} gave a file of {size_bytes:,} bytes with the SHA-256 {found}; wanted was {wanted}.",
                hint="The source has another file than expected; nothing was kept.",
            )
        os.fsync(self._file)
        self._part.replace(self._target)
        fsync_dir(self._target.parent)
        self._record.unlink(missing_ok=True)
        return found


def _validator(response: httpx.Response) -> str:
    """What tells this version of the file from others in If-Range: a strong ETag, else Last-Modified, else ""."""
    etag = str(response.headers.get("etag", ""))
    return etag if etag.startswith('"') else str(response.headers.get("last-modified", ""))


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
