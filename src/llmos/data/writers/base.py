"""The contract of a writer: how rows become a file, or a folder of files, of one format.

    frames ── check(columns) ──> write ──> bytes, in a temporary place ── fsync, rename ──> where the user wants them

Frames come one after the other and are gone when they are written, so any number of rows fits into memory. A writer that cannot hold what
the rows hold raises InvalidValue that names the column or row; what it writes in another way than it stands in the rows goes into `notes`,
which the user is shown. Nothing is left out silently.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, ClassVar

import polars as pl

from llmos.errors import InvalidValue
from llmos.registry import Registry

Columns = Mapping[str, pl.DataType]
Notes = Counter[str]  # remark -> how many values or rows it is about


class Writer(ABC):
    """One format of one file. suffixes: endings of names, without compression. keeps_extra: it merges `_extra` back into the rows; for the
    others it is a column. compressible: a compression goes around it."""

    name: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    merges_extra: ClassVar[bool] = False
    compressible: ClassVar[bool] = True

    def check(self, columns: Columns) -> None:  # noqa: B027 - many hold everything
        """Raises InvalidValue when the format cannot hold such columns."""

    @abstractmethod
    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        """All frames; returns the number of rows. No frame at all is a file without rows."""


class FolderWriter(ABC):
    """One format of several files."""

    name: ClassVar[str] = ""
    merges_extra: ClassVar[bool] = False

    def check(self, columns: Columns) -> None:  # noqa: B027
        """As Writer.check."""

    @abstractmethod
    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, folder: Path, notes: Notes) -> int:
        """Files into an empty folder; returns the number of rows."""


writers: Registry[Writer | FolderWriter] = Registry("output format")


def need(columns: Columns, wanted: Mapping[str, str], format: str) -> None:
    """Raises InvalidValue when a column is missing. wanted: column -> what it holds."""
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise InvalidValue(
            f"A {format} file needs a column {missing[0]!r} ({wanted[missing[0]]}); there are {', '.join(columns)}.",
            param="sinks",
            hint="Give a column that name in the recipe, or write jsonl.",
        )


def left_out(columns: Columns, written: set[str], format: str, notes: Notes) -> None:
    """A remark on columns that the format has no place for."""
    for name in columns:
        if name not in written:
            notes[f"the column {name} has no place in a {format} file"] += 1
