"""From the sources of a recipe to pieces that can be computed: files are found, their formats and columns recognised, and cut.

Everything a user must know before anything runs is found here: sources that are not there, formats that are not known, columns that two
sources use for different things. A file that cannot be read at all is told as an error; the others are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa

from llmos.data.base import OWN_COLUMNS
from llmos.data.builtins import load
from llmos.data.catalogue import PREFIX, entry, get
from llmos.data.readers.base import Problem, Reader, ReadOptions, Slice, SourceFile, Unreadable, reader_of, readers
from llmos.data.readers.compressed import COMPRESSIONS, compression_of
from llmos.data.readers.folders import local_files
from llmos.data.readers.merging import merged
from llmos.data.recipe import Recipe, Source, digest_of
from llmos.data.work import Piece
from llmos.errors import InvalidValue, did_you_mean
from llmos.infra.files import make_dir, write_atomic
from llmos.settings import Settings

HEAD_BYTES = 1 << 16
SMALL_PARTS = 8  # a file of less than this share of a slice is read together with others
BUNDLE_FILES = 128  # on average
HASHING_THREADS = 4
SAMPLED_FILES = 64  # whose columns are looked at, evenly spread, where a source has more and what others have goes into `_extra`


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What a version was made of, for its manifest and the lineage. kind: file or dataset. ref: label or name@version."""

    kind: str
    ref: str
    sha256: str
    size_bytes: int


@dataclass(slots=True, kw_only=True)
class Inputs:
    """pieces: in the order of the rows. labels: what stands before the last "#" in ids of rows. datasets: (ref, what stands before the
    ids of its rows here). columns: of all rows, with polars' types. problems: (label, why) of files that cannot be read."""

    pieces: list[Piece] = field(default_factory=list)
    parents: list[Parent] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    datasets: list[tuple[str, str]] = field(default_factory=list)
    columns: dict[str, pl.DataType] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, Problem]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(piece.slice.size_bytes for piece in self.pieces)


# How a dataset version is found by name: its full name, its Parquet files with their hashes, the labels in the ids of its rows; an uploaded
# file by its id: its place and its name. (data/store.py gives both; here it would be a cycle.)
FindDataset = Callable[[str], tuple[str, Sequence[tuple[Path, str]], Sequence[str]]]
FindFile = Callable[[str], tuple[Path, str]]


def find_inputs(
    recipe: Recipe,
    settings: Settings,
    find_dataset: FindDataset,
    *,
    find_file: FindFile,
    sources: Sequence[Source] | None = None,
    required: Sequence[str] = (),
    max_url_bytes: int | None = None,
) -> Inputs:
    """max_url_bytes: of a file behind a URL. Raises NotFound for sources that are not there, InvalidValue for what cannot go together,
    and what fetching raises."""
    load()
    found, whole = Inputs(), recipe
    listed = recipe.sources if sources is None else tuple(sources)
    seen: set[str] = set()
    for number, given in enumerate(listed):
        source, recipe = _catalogued(given, whole, settings)
        before = len(found.pieces)
        if source.dataset is not None:
            ref, inner = _dataset(source, recipe, find_dataset, found)
        else:
            ref, inner = "", []
            _files(source, list(_place(source, settings, find_file, max_url_bytes)), recipe, found)
        pieces = found.pieces[before:]
        files = dict.fromkeys(one.file.label for piece in pieces for one in (piece.slice, *piece.slice.more))
        prefix = _prefix({*files, *inner}, seen, number)
        found.pieces[before:] = [replace(piece, prefix=prefix) for piece in pieces]
        seen |= {prefix + one for one in (*files, *inner)}
        found.labels.update(dict.fromkeys(prefix + one for one in (inner if ref else files)))
        found.datasets += [(ref, prefix)] if ref else []
    _unify(found, required, recipe.columns if sources is None else ())
    return found


def _prefix(labels: set[str], seen: set[str], number: int) -> str:
    """What tells the rows of a source from those of earlier ones with a file of the same name: nothing, its place in the recipe, or the
    next number that is free."""
    prefix = ""
    while any(prefix + one in seen for one in labels):
        prefix, number = f"{number}:", number + 1
    return prefix


# -- finding files -----------------------------------------------------------------------------------------------------
def _catalogued(source: Source, recipe: Recipe, settings: Settings) -> tuple[Source, Recipe]:
    """Of `get:NAME`: the folder, fetched if need be, and how it is read where the recipe has the default."""
    if source.path is None or not source.path.startswith(PREFIX):
        return source, recipe
    known = entry(source.path.removeprefix(PREFIX))
    own = {name: value for name, value in known.source.items() if getattr(source, name) == Source.model_fields[name].default}
    plain = ReadOptions()
    read = {name: value for name, value in known.read.items() if getattr(recipe.read, name) == getattr(plain, name)}
    placed = source.model_copy(update=own | {"path": str(get(known.name, settings))})
    return placed, recipe.model_copy(update={"read": recipe.read.model_copy(update=read)})


def _place(source: Source, settings: Settings, find_file: FindFile, max_url_bytes: int | None) -> Iterator[tuple[Path, str]]:
    """(path, label) of the source's files, in order."""
    if source.rows is not None:
        text = b"\n".join(orjson.dumps(row) for row in source.rows) + b"\n"
        path = make_dir(settings.home / "datasets" / ".inline") / f"{digest_of(list(source.rows))[:16]}.jsonl"
        if not path.exists():
            write_atomic(path, text)
        yield path, "rows"
    elif source.file is not None:
        yield find_file(source.file)
    elif source.url is not None or str(source.path).startswith("s3://"):
        from llmos.data.readers.remote import fetched

        yield from fetched(source.url or str(source.path), settings, max_bytes=max_url_bytes)
    else:
        yield from local_files(str(source.path), source.split)


# -- recognising and cutting -------------------------------------------------------------------------------------------
def _files(source: Source, files: Sequence[tuple[Path, str]], recipe: Recipe, found: Inputs) -> None:
    known: list[tuple[SourceFile, Reader]] = []
    for path, label in files:
        try:
            known.append(recognise(path, label, source.format))
        except (InvalidValue, Unreadable) as problem:
            if len(files) == 1 and isinstance(problem, InvalidValue):
                raise
            found.problems.append((label, Problem(row=0, message=str(problem))))
    for reader in {reader.name: reader for _, reader in known}.values():
        reader.prepare(recipe.read)
    with ThreadPoolExecutor(HASHING_THREADS) as side:  # files are hashed while the columns of others are looked at
        coming = [side.submit(_cut, file, reader, recipe) for file, reader in known]
        schema = _schema(known, source, recipe)
        cuts: list[tuple[str, list[Slice]]] = []
        for (file, reader), one in zip(known, coming, strict=True):
            found.formats[file.label] = reader.name + (f" ({file.compression})" if file.compression else "")
            try:
                cut = one.result()
            except Unreadable as problem:
                found.problems.append((file.label, Problem(row=0, message=str(problem))))
                continue
            found.parents.append(Parent(kind="file", ref=file.label, sha256=_all(cut), size_bytes=file.path.stat().st_size))
            cuts.append((reader.name, cut))
    found.pieces += [_piece(one, format, schema, source, recipe) for format, one in bundled(cuts, recipe.read.slice_bytes)]


def _cut(file: SourceFile, reader: Reader, recipe: Recipe) -> list[Slice]:
    return list(reader.slices(file, recipe.read))


def _schema(known: Sequence[tuple[SourceFile, Reader]], source: Source, recipe: Recipe) -> pa.Schema:
    step = max(1, -(-len(known) // SAMPLED_FILES))
    schemas = []
    for place, (file, reader) in enumerate(known):
        if reader.extra and place % step:
            continue
        try:
            schemas.append((file.label, reader.schema(file, recipe.read)))
        except (InvalidValue, Unreadable) as problem:
            if len(known) == 1 and isinstance(problem, InvalidValue):
                raise
            continue  # reading it will say so
    return _merged(schemas, source)


def recognise(path: Path, label: str, asked: str) -> tuple[SourceFile, Reader]:
    try:
        named = path if path.suffix else Path(label)  # the bytes of an upload lie under their hash
        file = SourceFile(path=path, label=label, compression=COMPRESSIONS.get(named.suffix.lower()) or compression_of(path))
        head = file.head(HEAD_BYTES)
    except OSError as problem:
        raise InvalidValue(f"{label} cannot be read: {problem}", param="path") from None
    return file, reader_of(named, head, asked)


def bundled(cuts: Sequence[tuple[str, list[Slice]]], slice_bytes: int) -> Iterator[tuple[str, Slice]]:
    """(format, slice): small files of one format that follow each other become one slice, since a task for each would cost more than
    its work. A bundle ends where a file's hash says so, so that one more file changes one bundle and not all that come after."""
    held: list[Slice] = []
    kind, size = "", 0
    for format, cut in cuts:
        small = len(cut) == 1 and cut[0].size_bytes <= slice_bytes // SMALL_PARTS
        if held and (not small or format != kind or size + cut[0].size_bytes > slice_bytes):
            yield kind, _bundle(held)
            held, size = [], 0
        if not small:
            yield from ((format, one) for one in cut)
            continue
        kind, held, size = format, [*held, cut[0]], size + cut[0].size_bytes
        if int(cut[0].key[:8], 16) % BUNDLE_FILES == 0 or len(held) >= 4 * BUNDLE_FILES:
            yield kind, _bundle(held)
            held, size = [], 0
    if held:
        yield kind, _bundle(held)


def _bundle(slices: Sequence[Slice]) -> Slice:
    if len(slices) == 1:
        return slices[0]
    key = digest_of([[one.key, one.file.label, one.start, one.end] for one in slices])
    return replace(slices[0], key=key, size_bytes=sum(one.size_bytes for one in slices), more=tuple(slices[1:]))


def _all(cut: Sequence[Slice]) -> str:
    """What identifies the whole file: the hashes of its slices."""
    return cut[0].key if len(cut) == 1 else digest_of([one.key for one in cut])


def _piece(cut: Slice, format: str, schema: pa.Schema, source: Source, recipe: Recipe) -> Piece:
    columns = {new: old for new, old in source.columns.items() if old in schema.names}
    return Piece(
        slice=cut,
        format=format,
        schema=schema,
        options=recipe.read,
        columns=columns,
        tag=source.tag,
        folder_column=source.folder_column,
    )


def _merged(schemas: Sequence[tuple[str, pa.Schema]], source: Source) -> pa.Schema:
    found = merged(schemas)
    missing = [old for old in source.columns.values() if old not in found.names]
    if missing:
        raise InvalidValue(f"The source has no column {missing[0]!r}; it has {', '.join(found.names)}.", param="columns")
    return found


def _dataset(source: Source, recipe: Recipe, find_dataset: FindDataset, found: Inputs) -> tuple[str, Sequence[str]]:
    """(full name, labels in the ids of its rows)."""
    ref, files, labels = find_dataset(str(source.dataset))
    reader = readers.get("parquet")
    size = 0
    for path, sha256 in files:
        file = SourceFile(path=path, label=path.name)
        schema = reader.schema(file, recipe.read).remove_metadata()
        size += path.stat().st_size
        for cut in reader.slices(file, recipe.read):
            key = digest_of([sha256, cut.start, cut.end])
            found.pieces.append(_piece(replace(cut, key=key), "parquet", schema, source, recipe))
    found.formats[ref] = "dataset"
    found.parents.append(Parent(kind="dataset", ref=ref, sha256=ref.partition("@")[2], size_bytes=size))
    return ref, labels


# -- one set of columns for all ----------------------------------------------------------------------------------------
def _unify(found: Inputs, required: Sequence[str], wanted: Sequence[str]) -> None:
    """Every piece gets the columns of all, so that parts of one dataset have one schema. wanted: the only ones; () is all."""
    columns: dict[str, pl.DataType] = {}
    for schema, renamed in dict.fromkeys((piece.schema, tuple(sorted(piece.columns.items()))) for piece in found.pieces):
        _merge_columns(columns, schema, dict(renamed))
    order: dict[str, None] = {}
    for piece in found.pieces:
        new_name = {old: new for new, old in piece.columns.items()}
        names = [new_name.get(name, name) for name in piece.schema.names]
        order.update({name: None for name in names if name not in OWN_COLUMNS})
    unknown = [name for name in wanted if name not in order]
    if unknown and found.pieces:
        hint = did_you_mean(unknown[0], list(order)) or f"There are {', '.join(order)}."
        raise InvalidValue(f"The sources have no column {unknown[0]!r}.", param="columns", hint=hint)
    found.columns = {name: columns[name] for name in order if not wanted or name in wanted}
    _add_missing(found)
    needed = tuple(name for name in dict.fromkeys(required) if name in found.columns)
    found.pieces = [replace(piece, target=tuple(found.columns.items()), required=needed) for piece in found.pieces]


def _add_missing(found: Inputs) -> None:
    """A column that a `tag` or `folder_column` adds to the rows of some sources, the others have too, empty."""
    added = [set(piece.added) for piece in found.pieces]
    for name in sorted(set().union(*added) - set(added[0]).intersection(*added)) if added else ():
        kind = found.columns.setdefault(name, pl.String())
        if kind == pl.Null:
            found.columns[name] = pl.String()
        elif kind != pl.String:
            raise InvalidValue(
                f"The column {name!r} holds {kind} in one source, and another adds it as text (tag, folder_column).",
                param="columns", hint=f"Give the first another name: columns: {{other_{name}: {name}}}.",
            )  # fmt: skip


def _merge_columns(columns: dict[str, pl.DataType], schema: pa.Schema, renamed: dict[str, str]) -> None:
    new_name = {old: new for new, old in renamed.items()}
    for name, kind in pl.Schema(schema).items():
        new = new_name.get(name, name)
        if new in OWN_COLUMNS:
            continue
        before = columns.get(new, kind)
        both = _common(before, kind)
        if both is None:
            raise InvalidValue(
                f"The column {new!r} holds {before} in one source and {kind} in another.",
                param="columns",
                hint=f"Give one of them another name: columns: {{other_{new}: {name}}}.",
            )
        columns[new] = both


def _common(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if other in (one, pl.Null):
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() and other.is_numeric():
        return pl.Int64() if one.is_integer() and other.is_integer() else pl.Float64()
    return None
