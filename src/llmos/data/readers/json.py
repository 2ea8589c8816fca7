"""JSON files: an array of objects, an object that holds one (`{"data": [...]}`), or objects one after the other.

The file is never parsed as a whole. A scanner finds where each row begins and ends, and rows are parsed like JSON lines: files may be
larger than memory, one bad row costs that row, and a file that ends in the middle gives all rows before. Rows are counted from 1.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np
import orjson
import pyarrow as pa

from llmos.data.readers.base import Batch, Problem, Reader, ReadOptions, Slice, SourceFile, Unreadable, readers, whole
from llmos.data.readers.jsonl import JSONLines, parse
from llmos.data.readers.jsontypes import Rows, rows_of, schema_of
from llmos.data.readers.lines import BOM, Block, blocks, shown, until_damage

SAMPLE_BYTES = 4 << 20
PIECE_BYTES = 1 << 20
MAX_DEPTH = 1024
_NO_ROWS = -1  # a level that is never reached: what stands beside the array of rows in its object
# A whole text, a bracket, or a quote whose text does not end in what is there. (`*+`: else each escape would cost a hundred bytes.)
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|"', re.DOTALL)
_FILLED = re.compile(rb"[^ \t\r\n]")


class JSON(Reader):
    name = "json"
    suffixes = (".json",)
    extra = True

    def sniff(self, head: bytes) -> bool:
        start = head.removeprefix(BOM).lstrip()
        return start[:1] == b"[" or (start[:1] == b"{" and not JSONLines().sniff(head))

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        sample, left = [], SAMPLE_BYTES
        for item in until_damage(_items(file, options)):
            if isinstance(item, bytes):
                left -= len(item)
                try:
                    row = orjson.loads(item)
                except orjson.JSONDecodeError:
                    continue  # reading will say so
                if isinstance(row, dict):
                    sample.append(row)
            if left <= 0:
                break
        return schema_of(sample)

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        yield whole(file)

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        held: list[bytes] = []
        rows, size, number = rows_of(schema), 0, 1
        for item in _items(piece.file, options):
            if isinstance(item, Problem):
                if held:
                    yield _parsed(held, number, rows, options)
                    number, held, size = number + len(held), [], 0
                if not item.row:
                    raise Unreadable(f"{piece.file.path.name}: {item.message}")
                yield Batch(table=rows.table([], []), numbers=_NONE, problems=[item])
                number += 1
                continue
            held.append(item)
            size += len(item)
            if size >= options.batch_bytes:
                yield _parsed(held, number, rows, options)
                number, held, size = number + len(held), [], 0
        if held:
            yield _parsed(held, number, rows, options)


readers.add("json", JSON())
_NONE = np.zeros(0, dtype=np.int64)


def _parsed(items: list[bytes], number: int, rows: Rows, options: ReadOptions) -> Batch:
    """Line ends inside a row are white space to JSON and spaces do as well."""
    lines = b"\n".join(item.replace(b"\n", b" ").replace(b"\r", b" ") for item in items)
    return parse(Block(lines, number), rows, options)


def _items(file: SourceFile, options: ReadOptions) -> Iterator[bytes | Problem]:
    """The rows as they stand in the file, and a Problem where it breaks off: with the row's number, or 0 when no row is to blame."""
    return Scanner(options).items(_pieces(file, options))


def _pieces(file: SourceFile, options: ReadOptions) -> Iterator[bytes]:
    """Of a file as UTF-8, whatever it is."""
    wide = Slice(file=file, start=0, end=0, first_row=1, key="", size_bytes=0)
    head = file.head(4)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head == b"\x00\x00\xfe\xff":
        for block in blocks(wide, options):
            yield block.data
        return
    with file.open() as data:
        yield from _read(data)


def _read(data: io.BufferedReader) -> Iterator[bytes]:
    first = True
    while piece := data.read1(PIECE_BYTES):
        yield piece.removeprefix(BOM) if first else piece
        first = False


class Scanner:
    """Follows brackets. Depth 0 is outside of everything; rows begin at `level`: 0 for objects one after the other, 1 in an array, 2 in
    the array of an object."""

    def __init__(self, options: ReadOptions) -> None:
        self._wanted = (options.rows_in or "data").encode()
        self._asked = bool(options.rows_in)
        self._most = options.max_row_bytes
        self._held = bytearray()
        self._at = 0  # scanned so far, of `_held`
        self._start = -1  # of the row under way
        self._open: list[int] = []  # brackets that are not closed
        self._level = 0
        self._key = b""
        self._num_rows = 0

    def items(self, pieces: Iterator[bytes]) -> Iterator[bytes | Problem]:
        for piece in pieces:
            self._held += piece
            for item in self._scan():
                self._num_rows += 1
                yield item
                if isinstance(item, Problem) and not item.row:
                    return
            done = self._at if self._start < 0 else self._start
            if len(self._held) - done > self._most:
                yield Problem(
                    row=0,
                    message=f"row {self._num_rows + 1} has more than {self._most:,} bytes (read.max_row_bytes), or a quote is missing",
                )
                return
            del self._held[:done]
            self._at, self._start = self._at - done, min(self._start, 0)
        yield from self._rest()

    def _rest(self) -> Iterator[Problem]:
        if self._start >= 0:
            yield Problem(
                row=self._num_rows + 1, message="the file ends inside of this row", raw=shown(bytes(self._held[self._start :]))
            )
        elif self._open or self._held:
            yield Problem(row=0, message=f"it ends after row {self._num_rows} without its closing bracket or quote")

    def _scan(self) -> Iterator[bytes | Problem]:
        for found in _TOKEN.finditer(self._held, self._at):
            token, between = found[0], self._loose(self._at, found.start())
            if between:
                yield between
            self._at = found.start()
            if token == b'"' or (token == b"[" and self._undecided(found.end())):  # it goes on in the next piece
                return
            self._at = found.end()
            if token[:1] == b'"':
                self._key = token[1:-1] if len(self._open) == 1 else self._key
                between = self._loose(found.start(), found.end())
            elif token in b"{[":
                between = self._opened(token, found.start(), found.end())
            elif not self._open or self._open.pop() != token[0] - 2:  # "[" and "{" are two before "]" and "}"
                between = Problem(row=0, message=f"a bracket is closed that was not opened, in row {self._num_rows + 1}")
            elif self._start >= 0 and len(self._open) == self._level:
                item, self._start = bytes(self._held[self._start : self._at]), -1
                yield self._without_rows(item) if self._asked and self._level == 0 else item
            elif not self._open:
                self._level = 0
            elif len(self._open) < self._level:
                self._level = _NO_ROWS
            if between:
                yield between
        if self._start < 0:
            tail = self._loose(self._at, len(self._held))
            self._at = len(self._held)
            if tail:
                yield tail

    def _loose(self, start: int, end: int) -> Problem | None:
        """What stands where only rows may stand."""
        if start == end or self._start >= 0 or len(self._open) != self._level:
            return None
        found = bytes(self._held[start:end]).strip(b" \t\r\n,")
        return Problem(row=self._num_rows + 1, message="rows are JSON objects; this is none", raw=shown(found)) if found else None

    def _opened(self, token: bytes, start: int, end: int) -> Problem | None:
        depth = len(self._open)
        if depth >= MAX_DEPTH:
            return Problem(row=0, message=f"brackets more than {MAX_DEPTH} deep in row {self._num_rows + 1}")
        self._open.append(token[0])
        if self._start >= 0:
            if depth == 1 and token == b"[" and self._may_hold_rows() and (self._asked or self._next(end) == b"{"):
                self._start, self._level = -1, 2
        elif token == b"{" and depth == self._level:
            self._start = start
        elif token == b"[" and depth == self._level and depth:
            return Problem(row=self._num_rows + 1, message="rows are JSON objects; this is an array")
        elif token == b"[" and depth == 0:
            self._level = 1
        return None

    def _may_hold_rows(self) -> bool:
        return self._level == 0 and self._key == self._wanted

    def _undecided(self, end: int) -> bool:
        """Whether the array could be that of the rows, and what it begins with is not there yet."""
        return len(self._open) == 1 and self._start >= 0 and self._may_hold_rows() and not self._asked and not self._next(end)

    def _next(self, end: int) -> bytes:
        """The next byte that is no white space, as far as it is there."""
        found = _FILLED.search(self._held, end)
        return found[0] if found else b""

    def _without_rows(self, item: bytes) -> Problem:
        message = f"the object has no array {self._wanted.decode()!r} (read.rows_in)"
        return Problem(row=self._num_rows + 1, message=message, raw=shown(item))
