"""Text files cut at line ends: into slices that are computed side by side, and into blocks of whole lines that are parsed at a time.

Memory is bounded whatever the file holds: a line of more than `max_row_bytes` is read past, and its beginning and size are told. Lines
end in \\n or \\r\\n; a \\r inside a line belongs to it. UTF-16 and UTF-32 files, known by their byte order mark or by
`read.encoding`, are decoded on the way and are one slice, since their bytes cannot be cut at \\n.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from llmos.data.readers.base import SHOWN_CHARS, Batch, Problem, ReadOptions, Slice, SourceFile, Unreadable, whole

PIECE_BYTES = 1 << 20
T = TypeVar("T")
BOM = b"\xef\xbb\xbf"
_WIDE = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_WIDE_NAMES = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


# -- slices ------------------------------------------------------------------------------------------------------------
def line_slices(file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
    """Cuts at the first line end after every `slice_bytes`; counts lines and hashes on the way. Compressed files are one slice."""
    if file.compression or wide_encoding(file, options):
        yield whole(file)
        return
    start, at, row, lines = 0, 0, 1, 0
    digest = hashlib.sha256()
    with file.path.open("rb") as data:
        while piece := data.read(min(PIECE_BYTES, options.slice_bytes)):
            end = 0
            if at + len(piece) - start >= options.slice_bytes:
                end = piece.find(b"\n", max(0, start + options.slice_bytes - at - 1)) + 1
            if end:
                digest.update(piece[:end])
                lines += piece.count(b"\n", 0, end)
                yield Slice(
                    file=file, start=start, end=at + end, first_row=row, key=digest.hexdigest(), size_bytes=at + end - start
                )
                start, row, lines, digest = at + end, row + lines, 0, hashlib.sha256()
            digest.update(piece[end:])
            lines += piece.count(b"\n", end)
            at += len(piece)
    if at > start or not at:
        yield Slice(file=file, start=start, end=at, first_row=row, key=digest.hexdigest(), size_bytes=at - start)


def wide_encoding(file: SourceFile, options: ReadOptions) -> str:
    """The encoding when it is one whose line ends are more than one byte; "" else."""
    name = codecs.lookup(options.encoding).name if options.encoding != "auto" else "utf-8"
    if name in _WIDE_NAMES:
        return name
    head = file.head(4)
    return next((name for mark, name in _WIDE.items() if head.startswith(mark)), "")


# -- blocks ------------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Block:
    """data: whole lines; the last may lack its end. first: number of the first line. too_long: (size, beginning) of a line that was
    read past; data is empty then."""

    data: bytes
    first: int
    too_long: tuple[int, bytes] | None = None

    def bounds(self) -> tuple[list[int], list[int]]:
        """Where lines begin and where they end, their ends (\\n, \\r\\n) aside."""
        there = np.frombuffer(self.data, np.uint8)
        ends = np.flatnonzero(there == 10)
        if not self.data.endswith(b"\n"):
            ends = np.append(ends, len(self.data))
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        if len(there):
            ends = ends - ((there[np.maximum(ends - 1, 0)] == 13) & (ends > starts))
        return starts.tolist(), ends.tolist()


def blocks(piece: Slice, options: ReadOptions) -> Iterator[Block]:
    """The lines of the slice in blocks of about `batch_bytes`, as UTF-8 where the file is UTF-16 or UTF-32."""
    wide = wide_encoding(piece.file, options)
    with piece.file.open() as raw:
        data: io.BufferedReader = io.BufferedReader(_Transcoding(raw, wide, piece.file.path.name)) if wide else raw
        if piece.start:
            data.seek(piece.start)
        elif not wide and (head := data.read(3)) != BOM:
            yield from _blocks(data, head, piece.end - 3 if piece.end else None, piece.first_row, options)
            return
        skipped = piece.start or (0 if wide else 3)
        yield from _blocks(data, b"", piece.end - skipped if piece.end else None, piece.first_row, options)


def _blocks(data: io.BufferedReader, head: bytes, left: int | None, first: int, options: ReadOptions) -> Iterator[Block]:
    held, size, passing = bytearray(head), 0, b""
    while left is None or left > 0:
        piece = data.read1(options.batch_bytes if left is None else min(options.batch_bytes, left))
        if not piece:
            break
        left = None if left is None else left - len(piece)
        if size:  # inside a line that is too long
            end = piece.find(b"\n")
            if end < 0:
                size += len(piece)
                continue
            yield Block(b"", first, (size + end, passing))
            first, size, piece = first + 1, 0, piece[end + 1 :]
        cut = piece.rfind(b"\n") + 1
        if cut:
            block = Block(bytes(held) + piece[:cut] if held else piece[:cut], first)
            first += block.data.count(b"\n")
            held = bytearray(piece[cut:])
            yield block
        else:
            held += piece
        if len(held) > options.max_row_bytes:
            if begun := held.rfind(b"\n") + 1:  # of the first bytes of the file, in which lines may have ended already
                yield Block(bytes(held[:begun]), first)
                first += held.count(b"\n", 0, begun)
                del held[:begun]
            size, passing = len(held), bytes(held[: SHOWN_CHARS * 4])
            held = bytearray()
    if size:
        yield Block(b"", first, (size, passing))
    elif held:
        yield Block(bytes(held), first)


class _Transcoding(io.RawIOBase):
    """UTF-8 of a stream in another encoding. Raises Unreadable where it is not in that encoding."""

    def __init__(self, inner: io.BufferedReader, encoding: str, name: str) -> None:
        super().__init__()
        self._inner, self._name, self._encoding = inner, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = self._inner.read1(PIECE_BYTES)
            try:
                self._held = self._decoder.decode(piece, final=not piece).removeprefix("\ufeff").encode()
            except UnicodeError as problem:
                raise Unreadable(f"{self._name} is not {self._encoding}: {problem}") from None
            if not piece:
                break
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


def until_damage(items: Iterator[T]) -> Iterator[T]:
    """For samples: what comes before the place where a file is damaged. Reading will tell."""
    try:
        yield from items
    except Unreadable:
        return


# -- what cannot be read -----------------------------------------------------------------------------------------------
def too_long(row: int, size: int, raw: bytes, options: ReadOptions) -> Problem:
    message = f"a row of {size:,} bytes; {options.max_row_bytes:,} are read (read.max_row_bytes)"
    return Problem(row=row, message=message, raw=shown(raw))


def shown(raw: bytes) -> str:
    """The beginning of a bad row for the error table."""
    return raw[: SHOWN_CHARS * 4].decode("utf-8", errors="replace")[:SHOWN_CHARS]


def as_utf8(raw: bytes, encoding: str) -> tuple[bytes, str]:
    """The bytes as UTF-8, or why they are not in that encoding."""
    try:
        if encoding not in ("utf-8", "auto"):
            return raw.decode(encoding).encode(), ""
        raw.decode("utf-8")
        return raw, ""
    except UnicodeDecodeError as problem:
        if encoding == "auto":
            from llmos.data.readers.encodings import decode

            found = decode(raw)
            if found is not None:
                return found.encode(), ""
        return b"", f"not {encoding}: byte 0x{raw[problem.start]:02x} at place {problem.start + 1} (read.encoding: auto guesses)"


def block_as_utf8(data: bytes, encoding: str) -> bytes | None:
    """A whole block at once; None when it must be done line by line."""
    if data.isascii() or encoding in ("utf-8", "auto"):
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError:
        return None


def batch(table: Any, numbers: list[int], problems: list[Problem]) -> Batch:
    return Batch(table=table, numbers=np.asarray(numbers, dtype=np.int64), problems=problems)
