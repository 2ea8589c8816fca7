"""Opens data files, compressed or not: gzip, zstd, bzip2 and xz, known by the ending of the name or by their first bytes.

A few kilobytes can expand to terabytes, so what comes out of a compressed file is counted: beyond 200 times its size (text seldom goes
over 20) reading ends with an error that says so. Damage and a missing end are errors as well, never a short file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmos.errors import LLMOSError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz"}
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
MAX_EXPANSION = 200
FREE_BYTES = 256 << 20  # what a small file may always expand to
BUFFER_BYTES = 1 << 20
SMALL_BYTES = 1 << 12  # zstd loses what a read had before damage; so it reads little at a time


class Unreadable(LLMOSError):
    """A file that cannot be read as a whole: it becomes one line of the error table, the other files are read."""

    http_status = 422
    code = "unreadable_file"


def compression_of(path: Path) -> str:
    """ "" or a value of COMPRESSIONS. Raises OSError."""
    known = COMPRESSIONS.get(path.suffix.lower())
    if known:
        return known
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def sound_name(path: Path) -> str:
    """The name without the ending of its compression."""
    return path.stem if path.suffix.lower() in COMPRESSIONS else path.name


def opened(path: Path, compression: str) -> io.BufferedReader:
    """Its bytes. `read1` gives what comes before a damaged place before it raises; `read` may not."""
    if not compression:
        return path.open("rb")
    if not path.stat().st_size:  # gzip's own reader takes it for a whole file
        raise Unreadable(f"{path.name} is damaged or cut: it is empty, which no {compression} file is.")
    return io.BufferedReader(_Expanding(path, compression), BUFFER_BYTES)


class _Expanding(io.RawIOBase):
    """Decompressed bytes, counted. Every failure of the libraries is an Unreadable that names the file."""

    def __init__(self, path: Path, compression: str) -> None:
        super().__init__()
        self._path, self._inner = path, _inner(path, compression)
        self._read = self._small if compression == "zstd" else self._inner.read1
        self._left = max(FREE_BYTES, MAX_EXPANSION * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._read(len(buffer))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as problem:
            raise Unreadable(f"{self._path.name} is damaged or cut: {problem}") from None
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(
                f"{self._path.name} expands to more than {MAX_EXPANSION} times its size.",
                hint="If that is right, decompress it and read what comes out.",
            )
        buffer[: len(data)] = data
        return len(data)

    def _small(self, size: int) -> bytes:
        data: bytes = self._inner.read(min(size, SMALL_BYTES))
        return data

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


def _inner(path: Path, compression: str) -> Any:
    if compression == "gzip":
        return gzip.open(path, "rb")
    if compression == "bz2":
        return bz2.open(path, "rb")
    if compression == "xz":
        return lzma.open(path, "rb")
    return pa.input_stream(str(path), compression="zstd")
