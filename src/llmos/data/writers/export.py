"""Rows to a file, a folder or an S3-compatible store, whole or not at all.

    clean.jsonl.zst     the ending says the format and the compression
    out/                one file for about every 256 MB of rows; `format` says which (parquet when it does not)
    out/, huggingface   the layout of Hugging Face datasets
    s3://bucket/key     either of them in the store that AWS_ENDPOINT_URL names

A file is written beside its place and renamed, so that a reader sees the old one or the new one. A folder that holds something that was not
written here is never touched.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from llmos.data.base import EXTRA, ID
from llmos.data.readers.compressed import COMPRESSIONS
from llmos.data.recipe import Sink
from llmos.data.store import Version
from llmos.data.writers.base import Columns, FolderWriter, Notes, Writer, writers
from llmos.errors import Conflict, InvalidValue
from llmos.infra.files import fsync_dir, fsync_file, make_dir, storage_errors

SHARD_BYTES = 256 << 20
MARK = ".llmos-export"  # in folders that were written here


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written. size_bytes: of all files. notes: what stands there in another way than in the rows."""

    path: str
    format: str
    num_rows: int
    size_bytes: int
    notes: tuple[str, ...] = ()


def export_version(version: Version, sink: Sink) -> ExportResult:
    """A dataset version to where a recipe wants it. Raises what `export` raises."""
    rows = version.scan()
    without = [] if sink.ids else [ID]
    if EXTRA in rows.collect_schema() and not rows.select(pl.col(EXTRA).is_not_null().any()).collect().item():
        without.append(EXTRA)
    return export(_frames(version, without), sink.path, format=sink.format, ids=sink.ids)


def _frames(version: Version, without: Sequence[str]) -> Iterator[pl.DataFrame]:
    """A frame for each row group. The next rows are read while these are written."""
    with ThreadPoolExecutor(1) as ahead:
        coming: deque[Future[pl.DataFrame]] = deque()
        for path in version.files:
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                coming.append(ahead.submit(_read, file, group, without))
                if len(coming) > 1:
                    yield coming.popleft().result()
        if not coming and version.files:
            yield pl.read_parquet(version.files[0]).drop(without)
        while coming:
            yield coming.popleft().result()


def _read(file: pq.ParquetFile, group: int, without: Sequence[str]) -> pl.DataFrame:
    frame = pl.from_arrow(file.read_row_group(group).drop_columns([*without]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def export(frames: Iterator[pl.DataFrame], path: str | Path, format: str = "auto", ids: bool = False) -> ExportResult:
    """Writes the rows. format: of `writers`, with a compression (`jsonl.zst`) or not; `auto` is by the ending. ids: keeps `_id`. Raises
    InvalidValue when the format cannot hold the rows, Conflict for a folder of others, StorageError."""
    place = str(path)
    if place.startswith("s3://"):
        return _to_store(frames, place, format, ids)
    writer, compression = writer_of(place, format)
    target = Path(place).expanduser()
    columns, rows = _prepared(frames, writer, ids)
    task = _Task(writer=writer, compression=compression, columns=columns, notes=Notes())
    folder = place.endswith("/") or isinstance(writer, FolderWriter)
    with storage_errors(target):
        make_dir(target.absolute().parent)
        if folder:
            height, size = task.folder(rows, target)
        else:
            height = task.file(rows, target)
            size = target.stat().st_size
    told = tuple(remark if count == 1 else f"{remark} ({count:,} times)" for remark, count in task.notes.items())
    name = writer.name + (f" ({compression})" if compression else "")
    return ExportResult(path=place, format=name, num_rows=height, size_bytes=size, notes=told)


def writer_of(path: str, format: str) -> tuple[Writer | FolderWriter, str]:
    """(writer, compression). Raises InvalidValue."""
    name = path.rstrip("/").rpartition("/")[2] if format == "auto" else f".{format}"
    ending = "." + name.rpartition(".")[2].lower()
    compression = COMPRESSIONS.get(ending, "")
    bare = name[: -len(ending)] if compression else name
    if format == "auto" and path.endswith("/"):
        return writers.get("parquet"), ""
    asked = bare.removeprefix(".")
    found = next((one for _, one in writers if isinstance(one, Writer) and bare.lower().endswith(one.suffixes)), None)
    if format != "auto":
        found = writers.get(asked) if asked in writers else None  # type: ignore[assignment]
    if found is None:
        raise InvalidValue(
            f"The format {format!r} is not known." if format != "auto" else f"The format of {path} is not known from its ending.",
            param="format",
            hint=f"Known: {', '.join(writers.names())}, with .gz, .zst, .bz2 or .xz where they are text.",
        )
    if compression and not (isinstance(found, Writer) and found.compressible):
        raise InvalidValue(f"{found.name} is compressed inside; {ending} around it is not written.", param="format")
    return found, compression


def _prepared(frames: Iterator[pl.DataFrame], writer: Writer | FolderWriter, ids: bool) -> tuple[Columns, Iterator[pl.DataFrame]]:
    """The columns as the format gets them, checked, and the rows with them."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InvalidValue("There is nothing to write, not even columns.", param="sinks")
    dropped = [] if ids or ID not in first.columns else [ID]
    columns = {name: kind for name, kind in first.schema.items() if name not in dropped}
    writer.check({name: kind for name, kind in columns.items() if not (name == EXTRA and writer.merges_extra)})
    whole = chain([first], frames)
    return columns, (frame.drop(dropped) for frame in whole) if dropped else whole


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """How rows are written, wherever to."""

    writer: Writer | FolderWriter
    compression: str
    columns: Columns
    notes: Notes

    def file(self, rows: Iterator[pl.DataFrame], target: Path) -> int:
        assert isinstance(self.writer, Writer)
        partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
        try:
            with ExitStack() as closing:
                raw = closing.enter_context(partial.open("wb"))
                out = closing.enter_context(_around(raw, self.compression))
                height = self.writer.write(rows, self.columns, out, self.notes)
            fsync_file(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        fsync_dir(target.absolute().parent)
        return height

    def folder(self, rows: Iterator[pl.DataFrame], target: Path) -> tuple[int, int]:
        """(rows, bytes)."""
        if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / MARK).exists())):
            raise Conflict(
                f"{target} is there and was not written by an export.", param="sinks", hint="Name another folder, or remove it."
            )
        partial = target.absolute().with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
        partial.mkdir()
        try:
            if isinstance(self.writer, FolderWriter):
                height = self.writer.write(rows, self.columns, partial, self.notes)
            else:
                height = self._shards(self.writer, rows, partial)
            (partial / MARK).touch()
            files = [file for file in partial.rglob("*") if file.is_file()]
            for file in files:
                fsync_file(file)
            size = sum(file.stat().st_size for file in files)
            _swap(partial, target.absolute())
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return height, size

    def _shards(self, writer: Writer, rows: Iterator[pl.DataFrame], folder: Path) -> int:
        ending = writer.suffixes[0] + next((end for end, name in COMPRESSIONS.items() if name == self.compression), "")
        height, number = 0, 0
        following = next(rows, None)
        while following is not None:
            group, size = [following], int(following.estimated_size())
            while (following := next(rows, None)) is not None and size < SHARD_BYTES:
                group.append(following)
                size += int(following.estimated_size())
            height += self.file(iter(group), folder / f"part-{number:05d}{ending}")
            number += 1
        return height


def _around(raw: IO[bytes], compression: str) -> Any:
    """The stream that compresses into `raw`. The same rows give the same bytes: no time, no name inside."""
    if compression == "gzip":
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
    if compression == "bz2":
        return bz2.BZ2File(raw, "wb")
    if compression == "xz":
        return lzma.LZMAFile(raw, "wb")
    return pa.CompressedOutputStream(pa.PythonFile(raw, "w"), "zstd") if compression else nullcontext(raw)


def _swap(partial: Path, target: Path) -> None:
    """The new folder in the place of the old one."""
    if target.exists():
        old = partial.with_name(f"{partial.name}.old")
        os.rename(target, old)  # noqa: PTH104
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        partial.rename(target)
    fsync_dir(target.parent)


# -- S3 ----------------------------------------------------------------------------------------------------------------
def _to_store(frames: Iterator[pl.DataFrame], uri: str, format: str, ids: bool) -> ExportResult:
    """Written here first, then sent; an object of S3 is there whole or not at all."""
    from llmos.data.readers.remote import s3, s3_errors

    store, key = s3(), uri.removeprefix("s3://").rstrip("/")
    if "/" not in key:
        raise InvalidValue(f"{uri} names no object.", param="path", hint="s3://bucket/key, or s3://bucket/folder/")
    with tempfile.TemporaryDirectory(prefix="llmos-export-") as folder:
        local = Path(folder) / key.rpartition("/")[2]
        result = export(frames, f"{local}/" if uri.endswith("/") else local, format, ids)
        with s3_errors(uri):
            for file in sorted(local.rglob("*")) if local.is_dir() else [local]:
                if file.is_file() and file.name != MARK:
                    store.put_file(str(file), f"{key}/{file.relative_to(local)}" if local.is_dir() else key)
    return replace(result, path=uri)
