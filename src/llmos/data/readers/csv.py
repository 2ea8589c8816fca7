"""CSV and TSV by RFC 4180: values in quotes may hold delimiters, line ends and doubled quotes.

Blocks of whole records are read as text by Arrow; columns whose sampled values are all numbers, or all true and false, are then cast.
What looks like a number and is none (007, 1e5 among codes) stays text. An empty value is null, an empty text in quotes is "". Records with
another number of values than the first line, values of another type than their column, and quotes that never close are problems with the
line they begin in.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc

from llmos.data.readers.base import UNSEEN, Batch, Problem, Reader, ReadOptions, Slice, SourceFile, Unreadable, readers, whole
from llmos.data.readers.jsontypes import wanted_name
from llmos.data.readers.lines import Block, as_utf8, batch, blocks, shown, too_long, until_damage
from llmos.data.readers.rows import TEXT
from llmos.errors import InvalidValue

SAMPLE_BYTES = 4 << 20
DELIMITERS = (",", "\t", ";", "|")
MAX_COLUMNS = 10_000
CLEAR_SHARE = 0.99  # of values that must look like numbers for a column to be one
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$"


class TwoColumns(Unreadable):
    """A name stands twice: of one file that is a mistake in the recipe, of one among many it costs that file."""


class CSV(Reader):
    """One slice a file: where a record ends can only be known from the beginning."""

    name = "csv"
    suffixes = (".csv", ".tsv", ".tab")

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        form, sample = None, b""
        options = options.model_copy(update={"batch_bytes": SAMPLE_BYTES // 4})  # the columns do not depend on how a task reads
        for block in until_damage(_records(file, options)):
            try:
                form = form or _form(block, options)
            except TwoColumns as problem:
                raise InvalidValue(f"{file.label}: {problem.message}", param="read.header", hint=problem.hint) from None
            sample += block.data
            if len(sample) >= SAMPLE_BYTES:
                break
        if form is None:
            return pa.schema([])
        table, _, _ = form.read(Block(sample, 1), skip=options.header)
        frame: Any = pl.from_arrow(table)
        return pa.schema([_field(frame.get_column(name)) for name in form.names])

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        yield whole(file)

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        form: Form | None = None
        for block in _records(piece.file, options):
            if block.too_long is not None:
                empty = schema.empty_table()
                yield batch(empty, [], [too_long(block.first, *block.too_long, options)])
                continue
            if not block.data.strip(b"\r\n"):
                continue
            skip = form is None and options.header
            form = form or _form(block, options)
            assert form is not None
            table, numbers, problems = form.read(block, skip=skip)
            yield _typed(table, numbers, problems, schema)


readers.add("csv", CSV())


def _records(file: SourceFile, options: ReadOptions) -> Iterator[Block]:
    """Blocks of whole records: cut at a line end outside of quotes. A quote that is not closed within `max_row_bytes` costs the line
    it stands in."""
    held, first = b"", 1
    piece = Slice(file=file, start=0, end=0, first_row=1, key="", size_bytes=0)
    for block in blocks(piece, options):
        if block.too_long is not None:
            if held:
                yield Block(held, first)
                held = b""
            yield block
            continue
        first = first if held else block.first
        held += block.data
        cut = _last_end(held, options.quote)
        if not cut and len(held) > options.max_row_bytes:
            end = held.find(b"\n") + 1 or len(held)
            yield Block(b"", first, (len(held), held[:end]))
            held, first = held[end:], first + 1
            cut = _last_end(held, options.quote)
        if cut:
            yield Block(held[:cut], first)
            first += held.count(b"\n", 0, cut)
            held = held[cut:]
    if held:
        yield Block(held, first)


def _last_end(data: bytes, quote: str) -> int:
    ends = record_ends(data, quote)
    return int(ends[-1]) + 1 if len(ends) else 0


def record_ends(data: bytes, quote: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of the line ends that are outside of quotes: those with an even number of quotes before them."""
    there = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(there == 10)
    if not quote or quote.encode() not in data:
        return ends
    inside = np.cumsum(there == ord(quote), dtype=np.uint8) & 1
    outside: np.ndarray[Any, np.dtype[np.int64]] = ends[inside[ends] == 0]
    return outside


def _form(block: Block, options: ReadOptions) -> Form | None:
    """By the first record; None when there is none. Raises TwoColumns, Unreadable for what is no CSV."""
    start = len(block.data) - len(block.data.lstrip(b"\r\n"))
    ends = record_ends(block.data[start:], options.quote)
    raw = block.data[start : start + int(ends[0]) + 1 if len(ends) else None]
    if not raw:
        return None
    data, why = as_utf8(raw, options.encoding)
    if why:
        raise Unreadable(f"The first line is {why}.")
    delimiter = delimiter_of(data, options)
    try:
        names = next(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter, **_quoting(options)), [])
    except csv.Error as problem:
        raise Unreadable(f"The first line is no CSV: {problem}") from None
    if len(names) > MAX_COLUMNS:
        raise Unreadable(f"There are {len(names):,} columns; {MAX_COLUMNS:,} are read.")
    if not options.header:
        names = [""] * len(names)
    names = [name.strip() or f"column_{place + 1}" for place, name in enumerate(names)]
    if any(letter < " " for name in names for letter in name):
        raise Unreadable("There are control characters in the names of columns.")
    twice, times = Counter(names).most_common(1)[0]
    if times > 1:
        hint = "Is the first line no header? header: false"
        raise TwoColumns(f"There are two columns {twice!r}.", hint=hint)
    return Form(names, delimiter, options)


def _quoting(options: ReadOptions) -> dict[str, Any]:
    return {"quotechar": options.quote} if options.quote else {"quoting": csv.QUOTE_NONE}


def delimiter_of(data: bytes, options: ReadOptions) -> str:
    if options.delimiter:
        if len(options.delimiter) != 1:
            raise InvalidValue("A delimiter is one character.", param="read.delimiter")
        return options.delimiter
    line = data.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    return max(DELIMITERS, key=line.count) if any(one in line for one in DELIMITERS) else ","


class Form:
    """How records of one file are read."""

    def __init__(self, names: list[str], delimiter: str, options: ReadOptions) -> None:
        self.names, self.options, self._delimiter = names, options, delimiter

    def read(self, block: Block, *, skip: bool) -> tuple[pa.Table, list[int], list[Problem]]:
        """All columns as text, the line that each record begins in, and what is wrong. skip: the first record, it is the header."""
        data, why = as_utf8(block.data, self.options.encoding)
        if why:
            return self._patient(block.data, block.first, skip=skip)
        starts, lines = self._starts(data)
        if len(data) > self.options.max_row_bytes and int(np.diff(starts, append=len(data)).max()) > self.options.max_row_bytes:
            return self._patient(block.data, block.first, skip=skip)
        if skip:
            starts, lines = starts[1:], lines[1:]
        if not len(starts):
            return self._nothing(), [], []
        table = self._quick(data[int(starts[0]) :])
        if table is not None and table.num_rows == len(starts) and not self._odd(data):
            return table, (lines + block.first).tolist(), []
        return self._patient(block.data, block.first, skip=skip)

    def _starts(self, data: bytes) -> tuple[Any, Any]:
        """Where records that are not blank begin, and in which line, from 0."""
        ends = record_ends(data, self.options.quote)
        starts = np.concatenate([[0], ends + 1]).astype(np.int64)
        starts = starts[starts < len(data)]
        there = np.frombuffer(data, np.uint8)
        blank = (there[starts] == 10) | ((there[starts] == 13) & (there[np.minimum(starts + 1, len(data) - 1)] == 10))
        lines = np.searchsorted(np.flatnonzero(there == 10), starts)
        return starts[~blank], lines[~blank]

    def _quick(self, body: bytes) -> pa.Table | None:
        parse = pc.ParseOptions(
            delimiter=self._delimiter, quote_char=self.options.quote or False, newlines_in_values=bool(self.options.quote)
        )
        convert = pc.ConvertOptions(
            column_types=dict.fromkeys(self.names, TEXT),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        read = pc.ReadOptions(use_threads=False, block_size=len(body) + 16, column_names=self.names)
        try:
            return pc.read_csv(pa.BufferReader(body), read_options=read, parse_options=parse, convert_options=convert)
        except (pa.ArrowException, ValueError):
            return None

    def _patient(self, data: bytes, first: int, *, skip: bool) -> tuple[pa.Table, list[int], list[Problem]]:
        """Record by record, for blocks with something wrong in them."""
        tables, numbers, problems = [self._nothing()], [], []
        ends = [int(end) + 1 for end in record_ends(data, self.options.quote)]
        bounds = zip([0, *ends], [*ends, len(data)], strict=True)
        records = [(start, data[start:end]) for start, end in bounds if data[start:end].strip(b"\r\n")]
        for start, raw in records[1:] if skip else records:
            line = first + data.count(b"\n", 0, start)
            if len(raw) > self.options.max_row_bytes:
                problems.append(too_long(line, len(raw), raw, self.options))
                continue
            record, why = as_utf8(raw, self.options.encoding)
            for number, table, wrong in [(line, None, why)] if why else self._record(record, line):
                if table is None:
                    problems.append(Problem(row=number, message=wrong, raw=shown(raw)))
                else:
                    tables.append(table)
                    numbers.append(number)
        return pa.concat_tables(tables), numbers, problems

    def _record(self, record: bytes, line: int) -> Iterator[tuple[int, pa.Table | None, str]]:
        """(line, its row, "") or (line, None, why). Quotes that do not belong in pairs can make one record of several lines; these are
        taken apart."""
        table = self._quick(record)
        if table is not None and table.num_rows == 1 and not self._odd(record):
            yield line, table, ""
            return
        csv.field_size_limit(max(131072, self.options.max_row_bytes))
        source = io.StringIO(record.decode(), newline="")
        try:
            found = list(csv.reader(source, delimiter=self._delimiter, strict=self._odd(record), **_quoting(self.options)))
        except csv.Error as problem:
            found = []
            if b"\n" not in record.strip():
                yield line, None, f"no CSV: {problem} (is a quote not closed?)"
                return
        if len(found) == 1 == (0 if table is None else table.num_rows):
            yield line, table, ""
        elif len(found) != 1 and b"\n" in record.strip():
            for place, one in enumerate(record.split(b"\n")):
                if one.strip():
                    yield from self._record(one, line + place)
        else:
            num = len(found[0]) if found else 0
            yield line, None, f"{num} values where the first line has {len(self.names)}" if num != len(self.names) else "no CSV"

    def _odd(self, data: bytes) -> bool:
        return bool(self.options.quote) and data.count(self.options.quote.encode()) % 2 == 1

    def _nothing(self) -> pa.Table:
        return pa.schema([pa.field(name, TEXT) for name in self.names]).empty_table()


def _field(column: pl.Series) -> pa.Field:
    """Marked as UNSEEN where no text was."""
    return pa.field(column.name, _type(column), metadata=None if column.count() else UNSEEN)


def _type(column: pl.Series) -> pa.DataType:
    """Numbers and truth values where nearly all sampled texts are; the others become problems then."""
    there = column.drop_nulls()
    enough = CLEAR_SHARE * len(there)
    if not len(there):
        return TEXT
    if int(there.str.contains(_INTEGER).sum()) >= enough:
        return pa.int64()
    if int(there.str.contains(_DECIMAL).sum()) >= enough:
        return pa.float64()
    return pa.bool_() if int(there.is_in(["true", "false", "True", "False"]).sum()) >= enough else TEXT


def _typed(table: pa.Table, numbers: list[int], problems: list[Problem], schema: pa.Schema) -> Batch:
    """Texts cast to their columns' types; rows with a value that does not fit are problems."""
    frame: Any = pl.from_arrow(table)
    bad: dict[int, str] = {}
    columns = []
    for field in schema:
        if field.name not in frame.columns:
            columns.append(pa.nulls(len(numbers), field.type))
            continue
        texts = frame.get_column(field.name)
        column = _cast(texts, field.type)
        for place in (column.is_null() & texts.is_not_null()).arg_true().to_list():
            bad.setdefault(place, f"{field.name} is {texts[place]!r:.60}, not {wanted_name(field.type)} as in the other rows")
        columns.append(pa.nulls(len(numbers), field.type) if pa.types.is_nested(field.type) else column.to_arrow().cast(field.type))
    made = pa.Table.from_arrays(columns, schema=schema)
    if bad:
        problems = problems + [
            Problem(row=numbers[place], message=why, raw=str(frame.row(place))[:200]) for place, why in bad.items()
        ]
        good = [place for place in range(len(numbers)) if place not in bad]
        made, numbers = made.take(pa.array(good, pa.int64())), [numbers[place] for place in good]
    return batch(made, numbers, sorted(problems, key=lambda one: one.row))


def _cast(texts: pl.Series, kind: pa.DataType) -> pl.Series:
    if pa.types.is_integer(kind):
        return texts.set(~texts.str.contains(_INTEGER).fill_null(value=True), None).cast(pl.Int64, strict=False)
    if pa.types.is_floating(kind):
        return texts.set(~texts.str.contains(_DECIMAL).fill_null(value=True), None).cast(pl.Float64, strict=False)
    if pa.types.is_boolean(kind):
        lower = texts.str.to_lowercase()
        return pl.select(pl.when(lower == "true").then(True).when(lower == "false").then(False).otherwise(None)).to_series()
    return texts.clear(len(texts)) if pa.types.is_nested(kind) else texts
