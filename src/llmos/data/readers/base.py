"""The contract of a reader: how files of one format are cut into slices and read as batches of rows.

    file ── slices ──> byte ranges, row groups, or the whole ── read ──> Batch, Batch, …

A slice is what one task computes; its `key` names its content, so that a slice that did not change is not computed again. A batch is
what is in memory at a time. Rows keep the number they have in their file (from 1, as an editor counts lines), whatever slice or
batch they come in. A row that cannot be read becomes a Problem; the others are read.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from llmos.data.readers.compressed import Unreadable, opened, sound_name
from llmos.errors import InvalidValue, NotFound
from llmos.registry import Registry

SLICE_BYTES = 64 << 20  # of input, one task
BATCH_BYTES = 2 << 20  # of input, at a time in memory
MAX_ROW_BYTES = 32 << 20
UNSEEN = {b"llmos": b"unseen"}  # metadata of a field of text of which no value was seen: it may be anything (merging.py)
SHOWN_CHARS = 200  # of a row that could not be read, in the error table


class ReadOptions(BaseModel):
    """How files are read. Units are bytes of input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slice_bytes: int = Field(SLICE_BYTES, ge=1, description="Size of the pieces that are computed side by side.")
    batch_bytes: int = Field(BATCH_BYTES, ge=1, description="What one task has in memory at a time.")
    max_row_bytes: int = Field(MAX_ROW_BYTES, ge=1, description="A longer row is an error row.")
    encoding: str = Field("utf-8", description="Of text files; `auto` guesses it for lines that are not UTF-8.")
    delimiter: str = Field(
        "", description="Of CSV files; not set: the one of `,`, tab, `;` and `|` that the first line has most of."
    )
    quote: str = Field('"', max_length=1, description="Of CSV files; empty: no value is quoted.")
    header: bool = Field(
        True, description="Whether the first line of CSV files names the columns; else they are column_1, column_2 …"
    )
    rows_in: str = Field(
        "", description="Of JSON files: the key of the array that holds the rows; not set: `data`, else the object is one row."
    )
    text_unit: Literal["line", "paragraph", "file"] = Field("line", description="What one row is in text files.")
    markdown: Literal["raw", "text"] = Field("raw", description="Markdown as it stands, or the text it shows.")
    html: Literal["main", "text", "raw"] = Field("main", description="Of HTML: the main text, all text, or the source.")
    languages: str = Field("", description="Of Moses files: `en-fr` where a text lies there in more than two languages.")

    @field_validator("encoding")
    @classmethod
    def _of_text(cls, name: str) -> str:
        """Also hex and rot13 have names among Python's codecs, and are no encodings of text."""
        try:
            "a".encode("utf-8" if name == "auto" else name)
        except (LookupError, UnicodeError):
            raise ValueError(f"there is no encoding {name!r}; utf-8, gb18030, cp1252 and auto are some") from None
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file on a disk that all workers see. label: how its rows are named, stable wherever the file lies."""

    path: Path
    label: str
    compression: str = ""  # "", or one of compressed.COMPRESSIONS

    def open(self) -> io.BufferedReader:
        """Its bytes, decompressed. Reading raises Unreadable where they are damaged or expand beyond measure."""
        return opened(self.path, self.compression)

    def head(self, size: int) -> bytes:
        """How it begins. Raises Unreadable when not even that can be read."""
        found = b""
        with self.open() as data:
            try:
                while len(found) < size and (piece := data.read1(size - len(found))):
                    found += piece
            except Unreadable:
                if not found:
                    raise
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A piece of a file. start, end: of bytes, row groups, or 0 and 0 for the whole. first_row: number of its first row, from 1.
    key: SHA-256 of what it holds. size_bytes: of input. more: small files that are read with it, each with its own label."""

    file: SourceFile
    start: int
    end: int
    first_row: int
    key: str
    size_bytes: int
    more: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A row that could not be read. raw: its beginning, as text."""

    row: int
    message: str
    raw: str = ""


@dataclass(slots=True, kw_only=True)
class Batch:
    """Rows with their numbers in the file, and what could not be read beside them."""

    table: pa.Table
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    problems: list[Problem] = field(default_factory=list)


class Reader(ABC):
    """One format. suffixes: endings of names, without compression; of two readers with one ending, the one that sniffs is taken.
    extra: what a row has and the schema has not goes into `_extra`; of other formats the columns of all files must be in the schema.
    Raises InvalidValue when a file is not of this format at all."""

    name: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[bool] = False

    def sniff(self, head: bytes) -> bool:
        """Whether a file without a known ending, that begins like this, is of this format."""
        return False

    def prepare(self, options: ReadOptions) -> None:  # noqa: B027 - most need nothing
        """Called before anything is read. Raises MissingExtra when a library is not installed, InvalidValue for options."""

    @abstractmethod
    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        """From the file itself or from its first rows."""

    @abstractmethod
    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]: ...

    @abstractmethod
    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        """Tables have exactly the columns of `schema`; what else a row has goes as JSON into a column `_extra`, where there is `extra`."""


readers: Registry[Reader] = Registry("data format")
__all__ = ["Batch", "Problem", "ReadOptions", "Reader", "Slice", "SourceFile", "Unreadable", "reader_of", "readers", "whole"]


def whole(file: SourceFile) -> Slice:
    """The file as one slice, for formats that are read from the beginning."""
    with file.path.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return Slice(file=file, start=0, end=0, first_row=1, key=digest, size_bytes=file.path.stat().st_size)


def reader_of(path: Path, head: bytes, asked: str = "auto") -> Reader:
    """The reader of a file by its name and how it begins, else by how it begins alone. Raises InvalidValue with the known formats."""
    if asked != "auto":
        return _asked(asked)
    lower = sound_name(path).lower()
    named = [reader for _, reader in reversed(list(readers)) if lower.endswith(reader.suffixes)] if lower else []
    if named:
        return next((reader for reader in named if len(named) > 1 and reader.sniff(head)), named[-1])
    for _, reader in reversed(list(readers)):
        if reader.sniff(head):
            return reader
    raise InvalidValue(
        f"The format of {path.name} is not known from its name or its beginning.",
        param="format",
        hint=f"Say which one it is, as format: {' | '.join(readers.names())}.",
    )


def _asked(name: str) -> Reader:
    try:
        return readers.get(name)
    except NotFound as problem:
        raise InvalidValue(problem.message, param="format", hint=problem.hint) from None
