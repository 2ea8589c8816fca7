"""JSON Lines: one JSON object a line. The format every tool of the field writes.

A sample of the file gives the columns (jsontypes.py), and these a decoder that is compiled for them (msgspec), strict about types. A line
that it takes is a row; the others are looked at with patience, one by one: fields that the columns do not know go into `_extra`, and a
value of another type, a key that stands twice, bytes that are not UTF-8 and over-long lines are problems with their line number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import orjson
import pyarrow as pa

from llmos.data.readers.base import Batch, Problem, Reader, ReadOptions, Slice, SourceFile, readers
from llmos.data.readers.jsontypes import Rows, rows_of, schema_of
from llmos.data.readers.lines import (
    BOM,
    Block,
    as_utf8,
    batch,
    block_as_utf8,
    blocks,
    line_slices,
    shown,
    too_long,
    until_damage,
    wide_encoding,
)

SAMPLE_BYTES = 4 << 20
SAMPLE_PLACES = 16  # of a large file
SAMPLE_GUESSED = 100  # lines of a place whose encoding is guessed, which takes milliseconds each


class JSONLines(Reader):
    """Uncompressed files are cut at line ends into slices that are read side by side; compressed ones are one slice."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".jsonlines", ".json")
    extra = True

    def sniff(self, head: bytes) -> bool:
        first, end, rest = head.removeprefix(BOM).lstrip().partition(b"\n")
        try:
            return isinstance(orjson.loads(first), dict) and bool(end) and rest.lstrip()[:1] == b"{"
        except orjson.JSONDecodeError:
            return False

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        return schema_of(list(_sampled(file, options)))

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        return line_slices(file, options)

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        rows = rows_of(schema)
        for block in blocks(piece, options):
            yield parse(block, rows, options)


readers.add("jsonl", JSONLines())


def _sampled(file: SourceFile, options: ReadOptions) -> Iterator[dict[str, Any]]:
    """Rows from the beginning, and from places all over a file that can be entered anywhere."""
    options = options.model_copy(update={"batch_bytes": SAMPLE_BYTES // 4})  # the columns do not depend on how a task reads
    size = file.path.stat().st_size
    whole = Slice(file=file, start=0, end=0, first_row=1, key="", size_bytes=size)
    if file.compression or size <= SAMPLE_BYTES or wide_encoding(file, options):
        left = SAMPLE_BYTES
        for block in until_damage(blocks(whole, options)):
            yield from _rows(block.data, options)
            left -= len(block.data)
            if left <= 0:
                return
        return
    with file.path.open("rb") as data:
        began = list(_rows(data.read(SAMPLE_BYTES // 4), options))
        yield from began or _first_row(whole, options)
        for place in range(1, SAMPLE_PLACES):
            data.seek(size * place // SAMPLE_PLACES)
            yield from _rows(data.read(SAMPLE_BYTES * 3 // 4 // SAMPLE_PLACES).partition(b"\n")[2], options)


def _first_row(whole: Slice, options: ReadOptions) -> list[dict[str, Any]]:
    """Where the beginning that is sampled ends inside of the first row: that row, if it is one that can be read at all."""
    left = 2 * options.max_row_bytes
    for block in until_damage(blocks(whole, options)):
        if found := next(_rows(block.data, options), None):
            return [found]
        left -= len(block.data) if block.too_long is None else block.too_long[0]
        if left <= 0:
            break
    return []


def _rows(data: bytes, options: ReadOptions) -> Iterator[dict[str, Any]]:
    left = SAMPLE_GUESSED
    for line in data.removeprefix(BOM).split(b"\n"):
        if len(line) > options.max_row_bytes:
            continue
        text, why = as_utf8(line, "utf-8" if options.encoding == "auto" else options.encoding)
        if why and options.encoding == "auto" and left:
            left -= 1
            text, why = as_utf8(line, "auto")
        try:
            row = None if why else orjson.loads(text)
        except orjson.JSONDecodeError:
            continue  # a bad or cut line; reading will say so
        if isinstance(row, dict):
            yield row


def parse(block: Block, rows: Rows, options: ReadOptions, *, numbers: Sequence[int] | None = None) -> Batch:
    """The rows of these lines; blank lines are no rows. numbers: of the lines, when they do not count up from the block's first."""
    if block.too_long is not None:
        return batch(rows.table([], []), [], [too_long(block.first, *block.too_long, options)])
    data = block_as_utf8(block.data, options.encoding)
    whole = Block(data if data is not None else block.data, block.first)
    starts, ends = whole.bounds()
    places = [place for place, (start, end) in enumerate(zip(starts, ends, strict=True)) if end > start]
    view = memoryview(whole.data)
    found: list[Any] | None = None
    if data is not None and not any(ends[place] - starts[place] > options.max_row_bytes for place in places):
        try:
            found = [rows.decode(view[starts[place] : ends[place]]) for place in places]
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
    named = [block.first + place if numbers is None else numbers[place] for place in places]
    if found is not None:
        table, num_keys = rows.counted(found)
        if num_keys == rows.keys_in(whole.data):
            return batch(table, named, [])
    lines = [whole.data[starts[place] : ends[place]] for place in places]
    return _one_by_one(lines, named, rows, options, decoded=data is not None and options.encoding != "auto")


def _one_by_one(lines: Sequence[bytes], named: Sequence[int], rows: Rows, options: ReadOptions, *, decoded: bool) -> Batch:
    good: list[int] = []
    made: list[Any] = []
    extras: list[str | None] = []
    problems: list[Problem] = []
    encoding = "utf-8" if decoded else options.encoding
    for number, line in zip(named, lines, strict=True):
        if line.isspace():
            continue
        if len(line) > options.max_row_bytes:
            problems.append(too_long(number, len(line), line, options))
            continue
        text, why = as_utf8(line, encoding)
        row, extra, why = (None, None, why) if why else rows.careful(text)
        if row is None:
            problems.append(Problem(row=number, message=why, raw=shown(line)))
        else:
            good.append(number)
            made.append(row)
            extras.append(extra)
    return batch(rows.table(made, extras), good, problems)
