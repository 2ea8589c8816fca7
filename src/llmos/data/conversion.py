"""A file of one shape becomes a file of another: chats, pairs, labels, translations (data/shapes), row after row, whatever its format.

    convert_file("chats.json", "chats.jsonl", to="messages")    # the shape of the rows is detected, and told
    -> chats.jsonl, and chats.jsonl.errors.jsonl with the rows that could not be converted

JSON is read as it is, not through columns, so that a row has the keys it had and no others. Formats with columns are written from the
JSON lines at the end.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl
import pyarrow as pa

from llmos.data.base import EXTRA, ID
from llmos.data.builtins import load
from llmos.data.fused import Fused
from llmos.data.inputs import find_inputs, recognise
from llmos.data.readers.base import Reader, ReadOptions, Slice, SourceFile, whole
from llmos.data.readers.lines import BOM, blocks, too_long
from llmos.data.recipe import Recipe
from llmos.data.shapes import SAMPLE_ROWS, Converter, RowProblem, detect, make_options
from llmos.data.steps.convert import pruned
from llmos.data.tally import Tally
from llmos.data.work import piece_frames
from llmos.data.writers.export import export, writer_of
from llmos.errors import InvalidValue, LimitExceeded, NotFound
from llmos.infra.files import storage_errors
from llmos.settings import Settings

MAX_JSON_BYTES = 1 << 30  # of a JSON file, which is read at once
Row = dict[str, Any]
Found = tuple[int, Row | str]  # number of the row from 1, and the row, or why it cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """shape, why: of the source; why is "" when it was said. carried: other columns that came along. lost: what, and how many rows."""

    shape: str
    why: str
    num_rows: int
    num_problems: int
    errors: Path | None
    carried: tuple[str, ...]
    lost: dict[str, int]


def convert_file(
    source: Path, target: Path, *, to: str, settings: Settings, shape: str | None = None, lossy: bool = False, **options: Any
) -> Converted:
    """Raises NotFound, InvalidValue for shapes and options that do not go together, StorageError. The target is there whole or not."""
    load()
    if not source.is_file():
        raise NotFound(f"There is no file {source}.", param="FILE")
    writer, _ = writer_of(str(target), "auto")
    file, reader = recognise(source, source.name, "auto")
    rows = _rows(file, reader)
    first = list(islice(rows, SAMPLE_ROWS))
    sample = [row for _, row in first if isinstance(row, dict)]
    detected = None if shape else detect(dict.fromkeys(name for row in sample for name in row), sample)
    converter = Converter(shape or (detected.shape if detected else ""), to, lossy=lossy, options=make_options(options))
    token = secrets.token_hex(4)
    lines, errors = (target.with_name(f".{target.name}.{token}.{what}") for what in ("jsonl", "errors"))
    try:
        with storage_errors(target):
            num_rows, num_problems = _convert(chain(first, rows), converter, lines, errors)
            if writer.name == "jsonl" and target.suffix == ".jsonl":
                lines.replace(target)
            else:
                _written(lines, target, settings)
            told = target.with_name(f"{target.name}.errors.jsonl")
            told.unlink(missing_ok=True)
            if num_problems:
                errors.replace(told)
    finally:
        lines.unlink(missing_ok=True)
        errors.unlink(missing_ok=True)
    return Converted(
        shape=converter.source.name,
        why=detected.why if detected else "",
        num_rows=num_rows,
        num_problems=num_problems,
        errors=told if num_problems else None,
        carried=tuple(sorted(converter.carried)),
        lost=dict(converter.losses),
    )


def _convert(rows: Iterator[Found], converter: Converter, lines: Path, errors: Path) -> tuple[int, int]:
    num_rows = num_problems = 0
    with ExitStack() as opened:
        out, bad = (opened.enter_context(path.open("wb")) for path in (lines, errors))
        for number, row in rows:
            made = RowProblem(number - 1, "", row) if isinstance(row, str) else converter.convert(row, number - 1)
            if isinstance(made, RowProblem):
                num_problems += 1
                _line(bad, {"row": number, "field": made.field, "message": made.message})
            else:
                num_rows += 1
                _line(out, made)
    return num_rows, num_problems


def _line(out: IO[bytes], value: Row) -> None:
    out.write(orjson.dumps(value, default=str) + b"\n")


def _written(lines: Path, target: Path, settings: Settings) -> None:
    """JSON lines as another format, through columns. Raises InvalidValue when a row does not fit the columns of the others."""
    recipe = Recipe.build({"sources": [{"path": str(lines), "format": "jsonl"}]})

    def nothing(name: str) -> Any:
        raise NotFound(name)

    pieces = find_inputs(recipe, settings, nothing, find_file=nothing).pieces

    def frames(fused: Fused) -> Iterator[pl.DataFrame]:
        return (frame for piece in pieces for frame in piece_frames(piece, fused))

    looking = Fused([], None, Tally())
    num_extra = sum(frame.height - frame.get_column(EXTRA).null_count() for frame in frames(looking))
    if looking.tally.errors:
        first = looking.told[0].row(0, named=True)
        row = first[ID].rpartition("#")[2]
        raise InvalidValue(
            f"{looking.tally.errors:,} rows do not fit the columns of the others; row {row} of the result: {first['detail']}.",
            param="to", hint=f"JSON lines have no columns: convert to {target.stem}.jsonl.",
        )  # fmt: skip
    again = frames(Fused([], None, Tally()))
    export(again if num_extra else (frame.drop(EXTRA) for frame in again), target)


# -- reading -------------------------------------------------------------------------------------------------------------
def _rows(file: SourceFile, reader: Reader) -> Iterator[Found]:
    if reader.name == "jsonl":
        return _json_lines(file)
    if reader.name == "json":
        return _json(file)
    return _columns(file, reader)


def _json_lines(file: SourceFile) -> Iterator[Found]:
    options = ReadOptions()
    for block in blocks(Slice(file=file, start=0, end=0, first_row=1, key="", size_bytes=0), options):
        if block.too_long is not None:
            yield block.first, too_long(block.first, *block.too_long, options).message
            continue
        for place, (start, end) in enumerate(zip(*block.bounds(), strict=True)):
            if not block.data[start:end].isspace() and end > start:
                yield block.first + place, _parsed(block.data[start:end])


def _parsed(line: bytes) -> Row | str:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        return f"It is not JSON: {problem}"
    return found if isinstance(found, dict) else f"It is {type(found).__name__}, not an object."


def _json(file: SourceFile) -> Iterator[Found]:
    with file.open() as data:
        source = data.read(MAX_JSON_BYTES + 1)
    if len(source) > MAX_JSON_BYTES:
        raise LimitExceeded(f"{file.label} is larger than {MAX_JSON_BYTES:,} bytes.", hint="Make JSON lines of it.")
    try:
        found = orjson.loads(source.removeprefix(BOM))
    except orjson.JSONDecodeError as problem:
        raise InvalidValue(f"{file.label} is not JSON: {problem}", param="FILE") from None
    inner = found.get("data") if isinstance(found, dict) else found
    rows: Sequence[Any] = inner if isinstance(inner, list) else [found]
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else f"It is {type(row).__name__}, not an object."


def _columns(file: SourceFile, reader: Reader) -> Iterator[Found]:
    options = ReadOptions()
    reader.prepare(options)
    schema: pa.Schema = reader.schema(file, options)
    for piece in [*reader.slices(file, options)] or [whole(file)]:
        for batch in reader.read(piece, schema, options):
            rows = [{name: pruned(value) for name, value in row.items()} for row in batch.table.to_pylist()]
            yield from zip(batch.numbers.tolist(), rows, strict=True)
            yield from ((one.row, one.message) for one in batch.problems)
