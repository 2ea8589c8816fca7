"""JSON Lines and JSON arrays. What readers put into `_extra` is merged back, so that what came from JSON goes back to JSON whole.

Null stands for a column of the row without a value; inside of objects it is left out, since columns cannot tell it from a key that was not
there. Frames of plain columns are written by polars; the others row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import orjson
import polars as pl

from llmos.data.base import EXTRA
from llmos.data.writers.base import Columns, Notes, Writer, writers
from llmos.errors import InvalidValue


@writers.register("jsonl")
class JSONLines(Writer):
    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".jsonlines")
    merges_extra = True

    def check(self, columns: Columns) -> None:
        check_json(columns)

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        height = 0
        for frame in frames:
            out.write(json_lines(frame, notes))
            height += frame.height
        return height


@writers.register("json")
class JSON(Writer):
    name = "json"
    suffixes = (".json",)
    merges_extra = True

    def check(self, columns: Columns) -> None:
        check_json(columns)

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        height = 0
        out.write(b"[")
        for frame in frames:
            lines = json_lines(frame, notes).removesuffix(b"\n").replace(b"\n", b",\n")
            if lines:
                out.write((b",\n" if height else b"\n") + lines)
                height += frame.height
        out.write(b"\n]\n")
        return height


def check_json(columns: Columns) -> None:
    for name, kind in columns.items():
        leaf = _no_json(kind)
        if leaf:
            raise InvalidValue(f"JSON cannot hold the column {name!r} of {leaf}.", param="sinks", hint="Parquet and Arrow can.")


def _no_json(kind: Any) -> str:
    """What JSON has no form for; "" when it holds all."""
    if isinstance(kind, pl.List | pl.Array):
        return _no_json(kind.inner)
    if isinstance(kind, pl.Struct):
        return next((found for field in kind.fields if (found := _no_json(field.dtype))), "")
    fits = (
        kind.is_integer()
        or kind.is_float()
        or kind in (pl.String, pl.Boolean, pl.Null, pl.Date, pl.Time)
        or isinstance(kind, pl.Datetime | pl.Categorical | pl.Enum)
    )
    return "" if fits and kind != pl.Int128 else str(kind)


def json_lines(frame: pl.DataFrame, notes: Notes) -> bytes:
    """A line a row, each with its end."""
    for column in frame.iter_columns():
        if odd := num_odd(column):
            notes[f"NaN or infinity in {column.name} is null"] += odd
    extra = frame.get_column(EXTRA) if EXTRA in frame.columns else None
    rows = frame.drop(EXTRA) if extra is not None else frame
    has_extra = extra is not None and extra.null_count() < len(extra)
    if not has_extra and rows.width and all(kind.is_integer() or kind in (pl.String, pl.Boolean, pl.Null) for kind in rows.dtypes):
        return rows.write_ndjson().encode()
    nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
    lines = []
    for place, row in enumerate(rows.iter_rows(named=True)):
        for name in nested:
            row[name] = dense(row[name])
        if extra is not None and has_extra and extra[place]:
            lines.append(orjson.dumps(merged(row, orjson.loads(extra[place]))))
        else:
            lines.append(orjson.dumps(row))
    return b"".join(line + b"\n" for line in lines)


def num_odd(column: pl.Series) -> int:
    """How many numbers in it, also inside of lists and objects, are NaN or infinity, for which JSON has no form."""
    kind: Any = column.dtype
    if "Float" not in str(kind) or not len(column):
        return 0
    if isinstance(kind, pl.List | pl.Array):
        return num_odd(column.explode())
    if isinstance(kind, pl.Struct):
        return sum(num_odd(column.struct.field(field.name)) for field in kind.fields)
    return int((~column.is_finite()).sum()) if kind.is_float() else 0


def dense(value: Any) -> Any:
    """Without keys that have no value."""
    if isinstance(value, dict):
        return {name: dense(one) for name, one in value.items() if one is not None}
    return [dense(one) for one in value] if isinstance(value, list) else value


def merged(value: Any, extra: Any) -> Any:
    """The opposite of how readers cut a row to its columns: objects by key, lists by the places of their items."""
    if isinstance(value, dict) and isinstance(extra, dict):
        added = {name: merged(value[name], one) if value.get(name) is not None else one for name, one in extra.items()}
        return {**value, **added}
    if isinstance(value, list) and isinstance(extra, dict):
        return [merged(one, extra[str(place)]) if str(place) in extra else one for place, one in enumerate(value)]
    return value
