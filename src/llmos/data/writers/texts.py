"""Plain text, a row a line: the column `text`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import polars as pl

from llmos.data.writers.base import Columns, Notes, Writer, left_out, need, writers
from llmos.errors import InvalidValue


@writers.register("txt")
class Text(Writer):
    name = "txt"
    suffixes = (".txt", ".text")

    def check(self, columns: Columns) -> None:
        need(columns, {"text": "text"}, "txt")
        if columns["text"] != pl.String:
            raise InvalidValue(f"The column 'text' holds {columns['text']}, not text.", param="sinks")

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        left_out(columns, {"text"}, "txt", notes)
        height = 0
        for frame in frames:
            texts = frame.get_column("text")
            out.write(one_a_line(texts, height, "txt"))
            height += frame.height
        return height


def one_a_line(texts: pl.Series, first: int, format: str) -> bytes:
    """The texts with their ends. first: rows before them. Raises InvalidValue for a text that is not one line."""
    bad = (texts.str.contains(r"[\r\n]") | texts.is_null()).arg_true()
    if len(bad):
        what = "no text" if texts[bad[0]] is None else "a text of several lines"
        raise InvalidValue(
            f"Row {first + bad[0] + 1:,} has {what}; a {format} file holds one row a line.",
            param="sinks",
            hint="Write jsonl or parquet.",
        )
    lines: str = texts.str.join("\n").item() if len(texts) else ""
    return lines.encode() + b"\n" if len(texts) else b""
