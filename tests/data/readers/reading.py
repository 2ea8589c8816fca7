"""Reads a file as a recipe would: reader chosen by name and content, schema, slices, batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmos.data.inputs import recognise
from llmos.data.readers import all as _all  # noqa: F401
from llmos.data.readers.base import Problem, ReadOptions, Unreadable


class Reading:
    """rows: (number, row without empty `_extra`). failure: why the file could not be read to its end."""

    def __init__(self, path: Path, asked: str = "auto", label: str = "", **options: Any) -> None:
        file, reader = recognise(path, label or path.name, asked)
        self.format, self.read = reader.name, ReadOptions(**options)
        reader.prepare(self.read)
        self.schema = reader.schema(file, self.read)
        self.slices = list(reader.slices(file, self.read))
        self.numbers: list[int] = []
        self.rows: list[dict[str, Any]] = []
        self.problems: list[Problem] = []
        self.failure = ""
        try:
            for piece in self.slices:
                for batch in reader.read(piece, self.schema, self.read):
                    assert len(batch.numbers) == batch.table.num_rows
                    self.numbers += batch.numbers.tolist()
                    self.rows += batch.table.to_pylist()
                    self.problems += batch.problems
        except Unreadable as problem:
            self.failure = str(problem)
        for row in self.rows:
            if row.get("_extra", "") is None:
                del row["_extra"]

    @property
    def told(self) -> dict[int, str]:
        return {one.row: one.message for one in self.problems}


def read(folder: Path, name: str, data: bytes | str, asked: str = "auto", **options: Any) -> Reading:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return Reading(path, asked, **options)
