"""Arrow IPC: files (also Feather), and streams as the datasets library of Hugging Face saves them.

The record batches of a file are its slices; a stream is one. Every batch is validated in full before use: offsets and texts come from
outside, and Arrow's kernels trust them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from llmos.data.readers.base import Batch, Reader, ReadOptions, Slice, SourceFile, Unreadable, readers, whole
from llmos.data.readers.ipc import MAX_BATCH_BYTES, sizes
from llmos.data.readers.parquet import DAMAGED, fitted, sound

MAGIC = b"ARROW1"
STREAM = b"\xff\xff\xff\xff"


class Arrow(Reader):
    name = "arrow"
    suffixes = (".arrow", ".feather", ".ipc", ".arrows")

    def sniff(self, head: bytes) -> bool:
        return head.startswith((MAGIC, STREAM))

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        with _Opened(file) as opened:
            return sound(opened.reader.schema, file)

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        piece = whole(file)
        _check_sizes(file)
        with _Opened(file) as opened:
            if opened.stream:
                yield piece
                return
            start, row, rows, size = 0, 1, 0, 0
            for number in range(opened.reader.num_record_batches):
                found = opened.batch(number)
                rows, size = rows + found.num_rows, size + found.get_total_buffer_size()
                if size >= options.slice_bytes or number + 1 == opened.reader.num_record_batches:
                    key = hashlib.sha256(f"{piece.key} {start} {number + 1}".encode()).hexdigest()
                    yield Slice(file=file, start=start, end=number + 1, first_row=row, key=key, size_bytes=size)
                    start, row, rows, size = number + 1, row + rows, 0, 0

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        number = piece.first_row
        with _Opened(piece.file) as opened:
            for found in opened.batches(piece):
                height = max(1, int(options.batch_bytes / max(1, found.get_total_buffer_size() / max(1, found.num_rows))))
                for start in range(0, found.num_rows, height):
                    part = found.slice(start, height)
                    try:
                        table = fitted(pa.Table.from_batches([part]), schema)
                    except (pa.ArrowException, ValueError) as problem:
                        raise Unreadable(f"{piece.file.path.name} does not fit the other files: {problem}") from None
                    yield Batch(table=table, numbers=np.arange(number, number + len(part), dtype=np.int64))
                    number += len(part)


readers.add("arrow", Arrow())


def _check_sizes(file: SourceFile) -> None:
    """Raises Unreadable for a batch that becomes too large. Damage in a stream is told where it is read: what is before it is sound."""
    with _source(file) as handle:
        is_file = handle.read(8).startswith(MAGIC)
        if is_file:
            _within(file, handle, damage_is_told=False)
            return
    with _source(file) as handle:
        _within(file, handle, damage_is_told=True)


def _source(file: SourceFile) -> Any:
    if not file.path.stat().st_size:
        raise Unreadable(f"{file.path.name} is empty, not whole Arrow IPC.")
    return file.open() if file.compression else pa.memory_map(str(file.path))


def _within(file: SourceFile, handle: Any, *, damage_is_told: bool) -> None:
    try:
        for number, size in enumerate(sizes(handle)):
            if size > MAX_BATCH_BYTES:
                raise Unreadable(
                    f"{file.path.name}: record batch {number} expands to {size:,} bytes; {MAX_BATCH_BYTES:,} are read.",
                    hint="Write it in smaller batches.",
                )
    except (*DAMAGED, struct.error) as problem:
        if not damage_is_told:
            raise Unreadable(f"{file.path.name} is not whole Arrow IPC: {problem}") from None


class _Opened:
    """The file or stream. Raises Unreadable when it is damaged."""

    def __init__(self, file: SourceFile) -> None:
        self.name = file.path.name
        self._handle: Any = _source(file)
        try:
            head = self._handle.read(8)
            self.stream = not head.startswith(MAGIC)
            if self.stream:
                self._handle.close()
                self._handle = file.open()
                self.reader: Any = pa.ipc.open_stream(self._handle)
            elif file.compression:
                self._handle.close()
                raise Unreadable(f"{self.name} is a compressed Arrow file; decompress it first (batches inside may be compressed).")
            else:
                self._handle.seek(0)
                self.reader = pa.ipc.open_file(self._handle)
        except DAMAGED as problem:
            self._handle.close()
            raise Unreadable(f"{self.name} is not whole Arrow IPC: {problem}") from None

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def batch(self, number: int) -> pa.RecordBatch:
        try:
            found = self.reader.get_batch(number)
            found.validate(full=True)
        except DAMAGED as problem:
            raise Unreadable(f"{self.name} is damaged in record batch {number}: {problem}") from None
        return found

    def batches(self, piece: Slice) -> Iterator[pa.RecordBatch]:
        if not self.stream:
            yield from map(self.batch, range(piece.start, piece.end))
            return
        number = 0
        while True:
            try:
                found = self.reader.read_next_batch()
                found.validate(full=True)
            except StopIteration:
                return
            except DAMAGED as problem:
                raise Unreadable(f"{self.name} is damaged in record batch {number}: {problem}") from None
            yield found
            number += 1
