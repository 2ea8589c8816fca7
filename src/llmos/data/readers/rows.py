"""Readers whose rows are made one by one in Python (documents, mails, tagged sentences): from rows to batches of a size.

Such a reader says its columns once (`columns`) and gives `(number, row)` or Problems; what it shares with the others stands here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from llmos.data.readers.base import Batch, Problem, Reader, ReadOptions, Slice, SourceFile, Unreadable, whole
from llmos.data.readers.lines import batch

TEXT = pa.large_string()
TEXTS = pa.large_list(TEXT)
Numbered = tuple[int, Mapping[str, Any]] | Problem
_ROW_BYTES = 64  # of a row beside its texts


class RowReader(Reader):
    """One slice a file. Subclasses give `columns` and `rows`."""

    @property
    @abstractmethod
    def columns(self) -> pa.Schema: ...

    @abstractmethod
    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        """(number in the file, values by column), missing ones null. Raises Unreadable."""

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        return self.columns

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        yield whole(file)

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        return batches(self.rows(piece.file, options), schema, options)


def batches(items: Iterable[Numbered], schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
    numbers: list[int] = []
    held: list[Mapping[str, Any]] = []
    problems: list[Problem] = []
    size = 0
    items = iter(items)
    while True:
        try:
            item = next(items, None)
        except Unreadable:  # what was read before it is not lost
            if held or problems:
                yield _made(numbers, held, problems, schema)
            raise
        if item is None:
            break
        if isinstance(item, Problem):
            problems.append(item)
        else:
            numbers.append(item[0])
            held.append(item[1])
            size += _size(item[1])
        if size >= options.batch_bytes:
            yield _made(numbers, held, problems, schema)
            numbers, held, problems, size = [], [], [], 0
    if held or problems:
        yield _made(numbers, held, problems, schema)


def _size(row: Mapping[str, Any]) -> int:
    return _ROW_BYTES + sum(len(value) for value in row.values() if isinstance(value, str | list))


def _made(numbers: list[int], rows: list[Mapping[str, Any]], problems: list[Problem], schema: pa.Schema) -> Batch:
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return batch(pa.Table.from_arrays(columns, schema=schema), numbers, problems)


def all_bytes(file: SourceFile, options: ReadOptions) -> bytes:
    """The whole file. Raises Unreadable when it is larger than a row may be."""
    with file.open() as data:
        found = data.read(options.max_row_bytes + 1)
    if len(found) > options.max_row_bytes:
        raise Unreadable(
            f"{file.path.name} has more than {options.max_row_bytes:,} bytes; a document is one row (read.max_row_bytes)."
        )
    return found
