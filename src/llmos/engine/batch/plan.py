"""The plan of a run: one pass over the input checks every line and writes an index on disk, from which the order of work follows.

    items   number (place in the input), line, offset and length in the file, estimated tokens, root and prefix
    queue   position -> number, in the order of work

The order: items that open alike follow each other, longest group first, so that what they share is computed once and stays at
hand; within a group the longest items go first, so that the run does not end with one long answer alone. The first item of a group
is moved LEAD places forward: while it reads the shared part, the group before keeps the batch full.

SQLite sorts on disk: neither the pass nor the run holds more than a few pages, however long the input is. The file appears under its
name when it is whole.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from llmos.engine.batch.base import MAX_LINE_BYTES, MAX_PROBLEMS, WINDOW, InvalidBatch, Item, LineProblem, Rules
from llmos.engine.batch.lines import LineRefused, parse, shape_of
from llmos.errors import Conflict, CorruptFile, StorageError
from llmos.infra.files import fsync_dir, fsync_file, storage_errors

LEAD = WINDOW // 2
ROWS = 10_000  # inserted at once
VERSION = 1
_TABLES = """
CREATE TABLE meta (version INTEGER, rules TEXT, size INTEGER, mtime_ns INTEGER, total INTEGER, model TEXT);
CREATE TABLE items (number INTEGER PRIMARY KEY, line INTEGER, offset INTEGER, length INTEGER, tokens INTEGER,
                    root INTEGER, prefix INTEGER, name TEXT);
"""
_DONE = """
PRAGMA temp_store = FILE;
CREATE TEMP TABLE done (number INTEGER PRIMARY KEY, ok INTEGER, offset INTEGER, length INTEGER);
"""  # what the log says, read anew by each process: nothing of it is in the plan's own file, which never changes
_ORDER = """
CREATE TABLE roots AS SELECT root, max(tokens) AS longest, count(*) AS size FROM items GROUP BY root;
CREATE TABLE sorted (position INTEGER PRIMARY KEY, number INTEGER, root INTEGER);
INSERT INTO sorted (number, root)
  SELECT number, root FROM items JOIN roots USING (root) ORDER BY longest DESC, root, prefix, tokens DESC, number;
CREATE TABLE queue (position INTEGER PRIMARY KEY, number INTEGER, root INTEGER, shared INTEGER);
INSERT INTO queue (number, root, shared)
  SELECT number, root, size > 1 FROM (
    SELECT number, root, size, position, size > 1 AND position = min(position) OVER (PARTITION BY root) AS leads
    FROM sorted JOIN roots USING (root))
  ORDER BY CASE WHEN leads THEN max(position - {lead}, 0) ELSE position END, leads DESC, position;
DROP TABLE sorted;
DROP TABLE roots;
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands in the input. root: of its group; shared: whether there are others in that group."""

    number: int
    line: int
    offset: int
    length: int
    root: int
    shared: bool


class Work(Protocol):
    """What a Runner is to do."""

    def pending(self) -> Iterator[Place]:
        """What has no answer yet, in the order of work."""
        ...

    def item(self, place: Place) -> Item: ...


class Plan:
    """An open plan, the Work of a batch. One thread at a time."""

    def __init__(self, path: Path, source: Path) -> None:
        """Raises Conflict when it was made for other bytes of the source, CorruptFile when it cannot be read."""
        self._rows = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            self._rows.executescript(_DONE)
            row = self._rows.execute("SELECT version, rules, size, mtime_ns, total, model FROM meta").fetchone()
        except sqlite3.DatabaseError as problem:
            self._rows.close()
            raise CorruptFile(f"The plan {path} cannot be read: {problem}.", hint="Remove its folder to begin anew.") from None
        self.rules = Rules(**json.loads(row[1]))
        self.total, self.model = int(row[4]), str(row[5])
        self._source: BinaryIO = source.open("rb")
        found = os.fstat(self._source.fileno())
        if (row[0], row[2], row[3]) != (VERSION, found.st_size, found.st_mtime_ns):
            self.close()
            raise Conflict(f"{source.name} is not the file that {path.parent} was begun with.", hint="Begin anew (--restart).")

    def close(self) -> None:
        self._rows.close()
        self._source.close()

    def pending(self) -> Iterator[Place]:
        """What has no line in the log, in the order of work."""
        wanted = """SELECT queue.number, line, offset, length, queue.root, shared FROM queue JOIN items USING (number)
                    WHERE NOT EXISTS (SELECT 1 FROM done WHERE done.number = queue.number) ORDER BY position"""
        for number, line, offset, length, root, shared in self._rows.execute(wanted):
            yield Place(number, line, offset, length, root, bool(shared))

    @property
    def num_shared(self) -> int:
        """Items that open as others do."""
        found: tuple[int] = self._rows.execute("SELECT count(*) FROM queue WHERE shared").fetchone()
        return found[0]

    def item(self, place: Place) -> Item:
        raw = os.pread(self._source.fileno(), place.length, place.offset)
        return parse(raw, self.rules, number=place.number, line=place.line)

    # -- results -------------------------------------------------------------------------------------------------------
    def note_done(self, rows: list[tuple[int, int, int, int]]) -> None:
        """(number, ok, offset, length) of lines of the log; the first line of an item counts."""
        with self._rows:
            self._rows.executemany("INSERT OR IGNORE INTO done VALUES (?, ?, ?, ?)", rows)

    def forget_done(self) -> None:
        with self._rows:
            self._rows.execute("DELETE FROM done")

    def results(self) -> Iterator[tuple[int, str, int | None, int, int]]:
        """(number, custom_id, ok, offset, length) of every item in the order of the input; ok is None when it has no result."""
        wanted = """SELECT items.number, name, ok, done.offset, done.length FROM items LEFT JOIN done USING (number)
                    ORDER BY items.number"""
        for number, name, ok, offset, length in self._rows.execute(wanted):
            yield number, name, ok, offset or 0, length or 0


def make(source: Path, path: Path, rules: Rules) -> None:
    """Writes the plan. Raises InvalidBatch naming the lines, StorageError."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with storage_errors(path), closing(sqlite3.connect(partial)) as rows:
            rows.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;" + _TABLES)
            _Pass(rows, rules).read(source)
            rows.executescript(_ORDER.format(lead=LEAD))
        fsync_file(partial)
        partial.replace(path)
        fsync_dir(path.parent)
    except sqlite3.OperationalError as problem:
        raise StorageError(f"The plan {path} cannot be written: {problem}.", hint="Is its disk full?") from None
    finally:
        partial.unlink(missing_ok=True)


class _Pass:
    """One reading of the input from start to end."""

    def __init__(self, rows: sqlite3.Connection, rules: Rules) -> None:
        self.rows, self.rules = rows, rules
        self.model = rules.model
        self.num_items = self.num_problems = 0
        self.problems: list[LineProblem] = []
        self._waiting: list[tuple[int, int, int, int, int, int, int, str]] = []

    def read(self, source: Path) -> None:
        with source.open("rb") as file:
            found = os.fstat(file.fileno())
            line = offset = 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                line += 1
                length = len(raw)
                if length > MAX_LINE_BYTES:
                    length += _skip_line(file, raw)
                if raw.strip():
                    self._take(raw, line, offset, min(length, MAX_LINE_BYTES + 1))
                offset += length
        self._flush()
        self._check_names()
        if not self.num_items and not self.num_problems:
            self._refuse(LineProblem(code="empty_file", message="The file has no requests."))
        if self.num_problems:
            raise InvalidBatch(sorted(self.problems, key=lambda one: one.line or 0), self.num_problems)
        meta = (VERSION, json.dumps(asdict(self.rules)), found.st_size, found.st_mtime_ns, self.num_items, self.model)
        with self.rows:
            self.rows.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?, ?)", meta)

    def _take(self, raw: bytes, line: int, offset: int, length: int) -> None:
        try:
            item = parse(raw, self.rules, number=self.num_items, line=line)
        except LineRefused as refused:
            self._refuse(refused.problem)
            return
        self.model = self.model or item.body["model"]
        if item.body["model"] != self.model:
            message = f"body.model is {item.body['model'][:200]!r}; the lines before ask for {self.model[:200]!r}."
            self._refuse(LineProblem(code="mismatched_model", message=message, line=line, param="body.model"))
            return
        shape = shape_of(item.body, len(raw))
        self._waiting.append((item.number, line, offset, length, shape.tokens, shape.root, shape.prefix, item.custom_id))
        self.num_items += 1
        if len(self._waiting) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        with self.rows:
            self.rows.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._waiting)
        self._waiting.clear()

    def _check_names(self) -> None:
        """Every line whose custom_id an earlier one has."""
        twice = """SELECT name, line FROM (SELECT name, line, row_number() OVER (PARTITION BY name ORDER BY line) AS place FROM items)
                   WHERE place > 1 ORDER BY line"""
        for name, line in self.rows.execute(twice):
            message = f"The custom_id {name[:200]!r} was used in a line before."
            self._refuse(LineProblem(code="duplicate_custom_id", message=message, line=line, param="custom_id"))

    def _refuse(self, problem: LineProblem) -> None:
        self.num_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def _skip_line(file: BinaryIO, raw: bytes) -> int:
    """Reads to the end of a line that is too long; how many bytes that were."""
    skipped = 0
    while not raw.endswith(b"\n") and (raw := file.readline(1 << 20)):
        skipped += len(raw)
    return skipped
