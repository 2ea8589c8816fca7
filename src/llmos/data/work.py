"""Computes one part of one stage: reads its slice batch by batch, runs the stage's steps, writes what comes out. Any process may do it.

    <folder>/<key>/rows.parquet     rows that go on, one row group per batch
                   sketch.parquet   what the deciding step needs of them, when the stage ends in one
                   ledger.parquet   what became of the others (data/ledger.py)
                   tally.json       counts (data/tally.py)

`run_part` is a pure function of its task: whoever computes it, and however often, the same bytes come out (the seconds in tally.json
aside). The folder appears under its key by one rename, so a key that is there is whole.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from llmos.data.base import EXTRA, ID, Comparer, Gatherer, Models, Regrouper, Step, StepContext, steps
from llmos.data.fused import Fused
from llmos.data.ledger import empty, lines
from llmos.data.readers.base import Batch, Problem, ReadOptions, Slice, Unreadable, readers
from llmos.data.stages import Stage, StepSpec
from llmos.data.tally import Tally
from llmos.data.verdicts import apply_verdict
from llmos.errors import InvalidValue, LLMOSError
from llmos.infra.files import fsync_dir, fsync_file, make_dir, storage_errors, write_atomic
from llmos.settings import Settings

ROWS, SKETCH, LEDGER, TALLY = "rows.parquet", "sketch.parquet", "ledger.parquet", "tally.json"
ZSTD_LEVEL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A slice of a file. columns: new name -> name in the file. required: columns of text that every row must have. target: columns
    of all sources, as the steps see them. tag: value of the column `source`, "" for none. prefix: of row ids, where two sources
    have files of one name."""

    slice: Slice
    format: str
    schema: pa.Schema
    options: ReadOptions
    columns: dict[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    target: tuple[tuple[str, pl.DataType], ...] = ()
    tag: str = ""
    prefix: str = ""
    folder_column: str = ""

    @property
    def added(self) -> tuple[str, ...]:
        """Columns that its rows get beside those of the file."""
        return tuple(name for name in ("source" if self.tag else "", self.folder_column) if name)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its rows."""
        return {
            "slice": [self.slice.key, self.slice.start, self.slice.end, self.slice.first_row, self.slice.file.label],
            "format": self.format,
            "schema": str(self.schema),
            "options": self.options.model_dump(exclude={"slice_bytes"}),  # batch_bytes is the size of row groups
            "columns": self.columns,
            "required": sorted(self.required),
            "target": [[name, str(kind)] for name, kind in self.target],
            "tag": self.tag,
            "prefix": self.prefix,
            "folder_column": self.folder_column,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A part of the stage before. verdict: file of what was decided of its rows, None when nothing was."""

    rows: Path
    verdict: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTask:
    """One part to compute. folder: of all parts; key: of this one."""

    key: str
    folder: Path
    stage: Stage
    source: Piece | Earlier
    settings: Settings
    text_column: str
    seed: int
    project: str | None
    keep_signals: bool
    keep_dropped: bool
    known: tuple[tuple[str, Path], ...] = ()  # label of a Comparer -> what it compares with


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A computed part. tally: as plain data."""

    key: str
    path: Path
    height: int
    size_bytes: int
    tally: dict[str, Any]

    @property
    def rows(self) -> Path:
        return self.path / ROWS

    @property
    def sketch(self) -> Path:
        return self.path / SKETCH

    @property
    def ledger(self) -> Path:
        return self.path / LEDGER


def find_part(folder: Path, key: str) -> Part | None:
    """The part of that key when it has been computed before."""
    path = folder / key[:2] / key
    try:
        tally = json.loads((path / TALLY).read_bytes())
    except FileNotFoundError:
        return None
    return Part(key=key, path=path, height=tally.pop("height"), size_bytes=tally.pop("size_bytes"), tally=tally)


def run_part(task: PartTask, models: Models | None = None, between: Callable[[], None] = lambda: None) -> Part:
    """Computes the part unless it is there. between: called after each batch; may raise to end the work."""
    found = find_part(task.folder, task.key)
    if found is not None:
        return found
    place = make_dir(task.folder / task.key[:2])
    partial = place / f".{task.key}.{secrets.token_hex(4)}"
    with storage_errors(place):
        partial.mkdir()
        try:
            height = _compute(task, partial, models, between)
            for file in partial.iterdir():
                fsync_file(file)
            fsync_dir(partial)
            _publish(partial, place / task.key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    made = find_part(task.folder, task.key)
    assert made is not None and made.height == height
    return made


def _publish(partial: Path, target: Path) -> None:
    with suppress(OSError):  # another worker was faster with the same bytes
        partial.rename(target)
    fsync_dir(target.parent)


def _compute(task: PartTask, out: Path, models: Models | None, between: Callable[[], None]) -> int:
    context = StepContext(settings=task.settings, text_column=task.text_column, seed=task.seed, models=models, project=task.project)
    tally = Tally()
    sketch, decided = task.stage.sketch, task.stage.decided
    fused = Fused(
        [(spec.label, _made(spec, context, dict(task.known))) for spec in task.stage.steps],
        (sketch.label, _sketcher(sketch, context)) if sketch else None,
        tally,
        keep_signals=task.keep_signals,
        keep_dropped=task.keep_dropped,
    )
    if isinstance(task.source, Piece):
        batches = piece_frames(task.source, fused)
    else:
        batches = _earlier(task, task.source, fused, (decided.label, _gatherer(decided, context)) if decided else None)
    with ExitStack() as closing:
        rows_out = closing.enter_context(Growing(out / ROWS, text=task.text_column, passing=sketch is not None))
        sketch_out = closing.enter_context(Growing(out / SKETCH))
        ledger_out = closing.enter_context(Growing(out / LEDGER, text="row"))
        for frame in batches:
            kept, sketched = fused.run(frame)
            rows_out.write(kept)
            if sketched is not None:
                sketch_out.write(sketched)
            _write_ledger(fused, ledger_out)
            between()
        _write_ledger(fused, ledger_out)
        if ledger_out.height == 0:
            ledger_out.write(empty())
        height = rows_out.height
    size = (out / ROWS).stat().st_size if (out / ROWS).exists() else 0
    write_atomic(out / TALLY, json.dumps({"height": height, "size_bytes": size, **tally.plain()}, sort_keys=True))
    return height


def _made(spec: StepSpec, context: StepContext, known: dict[str, Path]) -> Step:
    step = spec.make(context)
    if isinstance(step, Comparer):
        step.known = pl.read_parquet(known[spec.label])
    return step


def _sketcher(spec: StepSpec, context: StepContext) -> Gatherer | Comparer:
    found = spec.make(context)
    assert isinstance(found, Gatherer | Comparer)
    return found


def _gatherer(spec: StepSpec, context: StepContext) -> Gatherer:
    found = spec.make(context)
    assert isinstance(found, Gatherer)
    return found


def _write_ledger(fused: Fused, out: Growing) -> None:
    if fused.told:
        out.write(pl.concat(fused.told))
        fused.told.clear()


# -- where the rows come from ------------------------------------------------------------------------------------------
def piece_frames(piece: Piece, fused: Fused) -> Iterator[pl.DataFrame]:
    """The rows of the slice and of the small files bundled with it, in batches worth a step's call."""
    held: list[pl.DataFrame] = []
    size, any_batch = 0, False
    for one in (piece.slice, *piece.slice.more):
        for frame in slice_frames(one, piece, fused):
            any_batch = True
            held.append(frame)
            size += int(frame.estimated_size())
            if size >= piece.options.batch_bytes or not piece.slice.more:
                yield pl.concat(held, rechunk=True)
                held, size = [], 0
    if held:
        yield pl.concat(held, rechunk=True)
    if not any_batch:  # a part without rows has its columns all the same
        nothing = Batch(table=piece.schema.empty_table(), numbers=np.zeros(0, dtype=np.int64))
        yield _framed(nothing, piece, piece.slice.file.label, fused)


def slice_frames(cut: Slice, piece: Piece, fused: Fused) -> Iterator[pl.DataFrame]:
    label = piece.prefix + cut.file.label
    try:
        for batch in readers.get(piece.format).read(cut, piece.schema, piece.options):
            yield _framed(batch, piece, label, fused)
    except Unreadable as problem:
        fused.tally.errors += 1
        fused.told.append(lines(pl.Series([label]), step="", action="error", signal="file", detail=str(problem)))
    except LLMOSError as problem:
        raise type(problem)(f"{label}: {problem.message}", param=problem.param, hint=problem.hint) from problem


def _framed(batch: Batch, piece: Piece, label: str, fused: Fused) -> pl.DataFrame:
    """The batch as the steps see it: ids, the recipe's names of columns, no row without a text that a step reads."""
    fused.tally.read += batch.table.num_rows + len(batch.problems)
    _tell_problems(batch.problems, label, fused)
    made = pl.from_arrow(batch.table)
    assert isinstance(made, pl.DataFrame)
    frame = made.rename({old: new for new, old in piece.columns.items()}) if piece.columns else made
    if EXTRA not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(EXTRA))
    columns = [(pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in piece.target]
    try:
        frame = frame.select(_ids(frame, batch, piece, label), *columns, EXTRA)
    except pl.exceptions.InvalidOperationError as problem:  # a number that the type of all sources has no room for
        raise InvalidValue(
            f"Not all values have the type of all sources: {str(problem).splitlines()[0]}.", param="columns"
        ) from None
    if piece.tag:
        frame = frame.with_columns(pl.lit(piece.tag).alias("source"))
    if piece.folder_column:
        frame = frame.with_columns(pl.lit(Path(label.removeprefix(piece.prefix)).parent.name).alias(piece.folder_column))
    return _complete(frame, piece.required, fused)


def _ids(frame: pl.DataFrame, batch: Batch, piece: Piece, label: str) -> pl.Series:
    """Rows of a dataset version, and of files with a column `_id` of text, keep the ids they have; null is none."""
    own = (label + "#" + pl.Series(batch.numbers).cast(pl.String)).alias(ID)
    if ID not in frame.columns:
        return own
    given = frame.get_column(ID)
    if given.dtype == pl.Null:
        return own
    if given.dtype != pl.String:
        raise InvalidValue(
            f"The column {ID} is the id of a row here, a text; it holds {given.dtype}.", param="columns",
            hint=f"Read it under another name: columns: {{id: {ID}}}.",
        )  # fmt: skip
    return (piece.prefix + given).zip_with(given.is_not_null(), own).alias(ID)


def _complete(frame: pl.DataFrame, required: tuple[str, ...], fused: Fused) -> pl.DataFrame:
    for name in required:
        missing = frame.get_column(name).is_null()
        if missing.any():
            gone = frame.filter(missing)
            fused.tally.errors += gone.height
            detail = f"the row has no {name}"
            kept = gone if fused.keep_dropped else None
            fused.told.append(lines(gone.get_column(ID), step="", action="error", signal="missing", detail=detail, rows=kept))
            frame = frame.filter(~missing)
    return frame


def _tell_problems(problems: list[Problem], label: str, fused: Fused) -> None:
    if problems:
        fused.tally.errors += len(problems)
        told = lines(
            pl.Series([f"{label}#{one.row}" for one in problems]), step="", action="error", signal="unreadable",
            detail=[one.message for one in problems],
        )  # fmt: skip
        raw = pl.Series("row", [one.raw if fused.keep_dropped else None for one in problems], dtype=pl.String)
        fused.told.append(told.with_columns(raw))


def _earlier(task: PartTask, source: Earlier, fused: Fused, decided: tuple[str, Gatherer] | None) -> Iterator[pl.DataFrame]:
    """Batches of a part of the stage before, what was decided of them applied; all of it at once where the stage regroups rows."""
    verdict = pl.read_parquet(source.verdict) if source.verdict else None
    file = pq.ParquetFile(source.rows)
    tables: Iterator[pa.Table]
    if file.num_row_groups == 0 or any(issubclass(steps.get(spec.name), Regrouper) for spec in task.stage.steps):
        tables = iter([file.read()])
    else:
        tables = (file.read_row_group(group) for group in range(file.num_row_groups))
    done = 0
    for table in tables:
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        here = slice(done, done := done + frame.height)
        if verdict is None or decided is None:
            yield frame
        else:
            label, gatherer = decided
            yield fused.after(label, gatherer, apply_verdict(frame, verdict[here], label, fused))


# -- where they go -----------------------------------------------------------------------------------------------------
class Growing:
    """A Parquet file that grows by one row group per frame; all frames have the columns of the first. text: a column that is
    not worth a dictionary. passing: rows that another stage reads and no version holds; they need speed more than space."""

    def __init__(self, path: Path, *, text: str = "", passing: bool = False) -> None:
        self.path = path
        self.height = 0
        self._text = text
        self._compression: dict[str, Any] = (
            {"compression": "lz4"} if passing else {"compression": "zstd", "compression_level": ZSTD_LEVEL}
        )
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, frame: pl.DataFrame) -> None:
        table = frame.to_arrow()
        if self._writer is None:
            words = [name for name in table.schema.names if name not in (ID, self._text)]
            self._writer = pq.ParquetWriter(
                self.path,
                table.schema,
                use_dictionary=words,
                write_statistics=False,
                **self._compression,
            )
        if table.schema != self._writer.schema:
            known = self._writer.schema
            clash = [
                name for name in table.schema.names if name not in known.names or table.schema.field(name) != known.field(name)
            ]
            raise InvalidValue(
                f"Rows of one file differ in the columns {', '.join(clash) or 'they have'}; one batch has {frame.schema}.",
                param="columns",
            )
        self._writer.write_table(table)
        self.height += frame.height
