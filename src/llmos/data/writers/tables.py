"""Tables: Parquet and Arrow, which hold everything, and CSV and TSV, which hold text.

In CSV a nested value is its JSON text, null is nothing and an empty text is `""`; types are not written, so a column of texts that all look
like numbers comes back as numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from llmos.data.base import ID
from llmos.data.writers.base import Columns, Notes, Writer, writers
from llmos.data.writers.jsons import check_json, num_odd
from llmos.errors import InvalidValue

ZSTD_LEVEL = 1


def arrow_schema(columns: Columns) -> pa.Schema:
    return pl.DataFrame(schema=dict(columns)).to_arrow().schema


@writers.register("parquet")
class Parquet(Writer):
    """A row group for each frame, zstd inside."""

    name = "parquet"
    suffixes = (".parquet", ".pq")
    compressible = False

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        height = 0
        with parquet_writer(columns, out) as writer:
            for frame in frames:
                writer.write_table(frame.to_arrow().cast(writer.schema))
                height += frame.height
        return height


def parquet_writer(columns: Columns, out: IO[bytes]) -> pq.ParquetWriter:
    words = [name for name in columns if name not in (ID, "text")]
    return pq.ParquetWriter(out, arrow_schema(columns), compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=words)


@writers.register("arrow")
class Arrow(Writer):
    """An Arrow IPC file (Feather 2) with a record batch for each frame, zstd inside."""

    name = "arrow"
    suffixes = (".arrow", ".feather", ".ipc")
    compressible = False

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        height, schema = 0, arrow_schema(columns)
        with pa.ipc.new_file(out, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            for frame in frames:
                writer.write_table(frame.to_arrow().cast(schema).combine_chunks())
                height += frame.height
        return height


class Separated(Writer):
    separator = ","

    def check(self, columns: Columns) -> None:
        if not columns:
            raise InvalidValue(f"A {self.name} file needs a column.", param="sinks")
        check_json(columns)

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        height = 0
        out.write(pl.DataFrame(schema=list(columns)).write_csv(separator=self.separator).encode())
        for frame in frames:
            flat = flattened(frame, notes)
            if flat.width == 1 and flat.to_series().null_count():
                raise InvalidValue(
                    f"A {self.name} file of one column cannot hold rows without a value.", param="sinks", hint="Write jsonl."
                )
            text = flat.write_csv(include_header=False, separator=self.separator, float_scientific=None)
            out.write(text.encode())
            height += frame.height
        return height


@writers.register("csv")
class CSV(Separated):
    name = "csv"
    suffixes = (".csv",)


@writers.register("tsv")
class TSV(Separated):
    name = "tsv"
    suffixes = (".tsv", ".tab")
    separator = "\t"


def flattened(frame: pl.DataFrame, notes: Notes) -> pl.DataFrame:
    """With text in place of nested values, and nothing in place of NaN and infinity."""
    columns = []
    for column in frame.iter_columns():
        if column.dtype.is_nested():
            texts = [None if value is None else orjson.dumps(value).decode() for value in column.to_list()]
            notes[f"nested values of {column.name} are JSON text"] += len(texts)
            if odd := num_odd(column):
                notes[f"NaN or infinity in {column.name} is null"] += odd
            columns.append(pl.Series(column.name, texts, dtype=pl.String))
        elif column.dtype.is_float() and (odd := int((~column.is_finite()).sum())):
            notes[f"NaN or infinity in {column.name} is nothing"] += odd
            columns.append(column.set(~column.is_finite(), None))
        else:
            columns.append(column)
    return pl.DataFrame(columns)
