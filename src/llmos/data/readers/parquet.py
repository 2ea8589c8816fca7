"""Parquet: row groups are the slices. Also how a dataset version is read back, with the row ids it has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmos.data.readers.base import Batch, Reader, ReadOptions, Slice, SourceFile, Unreadable, readers, whole

DAMAGED = (pa.ArrowException, OSError, ValueError, MemoryError)  # what Arrow raises for bytes that are not as they should be


class Parquet(Reader):
    name = "parquet"
    suffixes = (".parquet", ".pq")

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"PAR1")

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        return sound(_opened(file).schema_arrow, file)

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        """Neighbouring row groups up to `slice_bytes`. The key is of the whole file and the groups."""
        key, facts = whole(file).key, _opened(file).metadata
        start, size, row, rows = 0, 0, 1, 0
        for group in range(facts.num_row_groups):
            size += sum(facts.row_group(group).column(place).total_compressed_size for place in range(facts.num_columns))
            rows += facts.row_group(group).num_rows
            if size >= options.slice_bytes or group + 1 == facts.num_row_groups:
                digest = hashlib.sha256(f"{key} {start} {group + 1}".encode()).hexdigest()
                yield Slice(file=file, start=start, end=group + 1, first_row=row, key=digest, size_bytes=size)
                start, size, row, rows = group + 1, 0, row + rows, 0

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        opened = _opened(piece.file)
        names = [name for name in schema.names if name in opened.schema_arrow.names]
        number = piece.first_row
        try:
            for batch in opened.iter_batches(
                batch_size=_height(opened, options), row_groups=range(piece.start, piece.end), columns=names
            ):
                batch.validate(full=True)  # that texts are UTF-8, which what follows relies on
                table = fitted(pa.Table.from_batches([batch]), schema)
                yield Batch(table=table, numbers=np.arange(number, number + len(batch), dtype=np.int64))
                number += len(batch)
        except DAMAGED as problem:
            raise Unreadable(f"{piece.file.path.name} is damaged, or does not fit the other files: {problem}") from None


readers.add("parquet", Parquet())


def _opened(file: SourceFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file.path, memory_map=False)
    except DAMAGED as problem:
        raise Unreadable(f"{file.path.name} is not a whole Parquet file: {problem}") from None


def _height(opened: pq.ParquetFile, options: ReadOptions) -> int:
    """Rows of a batch of about `batch_bytes` uncompressed."""
    facts = opened.metadata
    size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
    return max(1, int(options.batch_bytes / max(1.0, size / max(1, facts.num_rows))))


def sound(schema: pa.Schema, file: SourceFile) -> pa.Schema:
    """The schema, when its names can be those of columns: twice the same, or with control characters, they cannot."""
    try:
        names = [name for field in schema for name in _names(field)]
    except UnicodeDecodeError:
        raise Unreadable(f"{file.path.name} has names of columns that are not UTF-8.") from None
    if not names:
        raise Unreadable(f"{file.path.name} has no columns.")
    if len(set(schema.names)) < len(schema.names) or any(letter < " " for name in names for letter in name):
        raise Unreadable(f"{file.path.name} has two columns of one name, or control characters in their names.")
    return schema


def _names(field: pa.Field) -> Iterator[str]:
    yield field.name
    for place in range(field.type.num_fields):
        yield from _names(field.type.field(place))


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """With exactly the columns of the schema, missing ones null."""
    columns = [
        table.column(field.name).cast(field.type) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
