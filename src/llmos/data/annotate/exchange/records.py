"""Plain records on their way in: dicts from Python, JSON lines, JSON, CSV.

    {"id": "7", "text": "…"}                                           id is optional; everything else is the item's data
    {"id": "7", "data": {"text": "…"}, "annotations": [{"annotator": "ann", "value": {"label": "good"}}]}       what `export` writes,
                                                         with "prelabel" and "adjudicated"; value null and "skipped": why it was

A column of another name is renamed: columns={"text": "body"} takes the item's text from "body".
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from llmos.data.annotate.base import Adjudicated, Numbered, Prelabel, Row, Said
from llmos.errors import InvalidValue

MAX_LINE_BYTES = 8 << 20
MAX_DOCUMENT_BYTES = 128 << 20  # of JSON that must be read whole


def rows_of(records: Iterable[Any], columns: Mapping[str, str] | None = None) -> Iterator[Numbered]:
    """Each record as a row, or as its error."""
    for number, record in enumerate(records, start=1):
        yield number, row_of(record, columns or {})


def row_of(record: Any, columns: Mapping[str, str]) -> Row | InvalidValue:
    """One record; what is wrong with its form is returned, not raised."""
    if not isinstance(record, Mapping):
        return InvalidValue(f"A row must be an object; this is {type(record).__name__}.", param="item")
    wrapped = isinstance(record.get("data"), Mapping) and not set(record) - {"id", "data", *_BESIDE}
    data = dict(record["data"]) if wrapped else {name: value for name, value in record.items() if name != "id"}
    for ours, theirs in columns.items():
        if theirs not in data:
            return InvalidValue(f"There is no column {theirs!r}.", param=theirs)
        data[ours] = data.pop(theirs)
    key = record.get("id")
    if key is not None and not isinstance(key, str | int):
        return InvalidValue("The id of an item is a text or a number.", param="id")
    try:
        told = _told(record) if wrapped else {}
    except InvalidValue as problem:
        return problem
    return Row(data=data, key=None if key is None else str(key), **told)


_BESIDE = {"annotations", "prelabel", "adjudicated", "value", "how", "item", "state"}  # of a record that `export` wrote


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record has beside its data, as fields of a Row. Raises InvalidValue."""
    given = record.get("annotations") or []
    if not isinstance(given, list | tuple):
        raise InvalidValue("annotations is no list.", param="annotations")
    said = tuple(_as(Said, one, f"annotations[{place}]") for place, one in enumerate(given))
    found: dict[str, Any] = {"annotations": said}
    for name, kind in (("prelabel", Prelabel), ("adjudicated", Adjudicated)):
        if record.get(name) is not None:
            whole = {"model": "", **record[name]} if kind is Prelabel and isinstance(record[name], Mapping) else record[name]
            found[name] = _as(kind, whole, name)
    return found


def _as(kind: Any, given: Any, where: str) -> Any:
    """As that record; fields of ours that it does not have (item, version, created_at …) are those of the export. Raises InvalidValue."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as problem:
        raise InvalidValue(f"{where} is not as `export` writes it: {problem}.", param=where) from None


def json_lines(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Numbered]:
    """One row a line; a line that is no JSON is an error with its number, blank ones are nothing."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                yield number, InvalidValue(f"Line {number} has more than {MAX_LINE_BYTES:,} bytes.")
            elif line.strip():
                yield number, _parsed(number, line.removeprefix(b"\xef\xbb\xbf"), columns or {})


def _parsed(number: int, line: bytes, columns: Mapping[str, str]) -> Row | InvalidValue:
    try:
        return row_of(json.loads(line.decode()), columns)
    except (ValueError, RecursionError) as problem:
        return InvalidValue(f"Line {number} is not JSON: {problem}.")


def json_document(path: Path) -> Any:
    """Raises InvalidValue when the file is no JSON, or too large to be read whole."""
    size = path.stat().st_size
    if size > MAX_DOCUMENT_BYTES:
        said = f"The file has {size:,} bytes; a JSON document of {MAX_DOCUMENT_BYTES:,} is read at most."
        raise InvalidValue(said, param="file", hint="Give it as JSON lines, which have no such limit, or in parts.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise InvalidValue(f"The file is not JSON: {problem}.", param="file") from None


def csv_rows(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Numbered]:
    """One row a record; its first line names the columns, and is number 1."""
    with path.open(encoding="utf-8-sig", newline="", errors="strict") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            twice = next((name for name, times in Counter(reader.fieldnames or ()).items() if times > 1), None)
            if twice is not None:
                yield 1, InvalidValue(f"Two columns are called {twice!r}.", param="file")
                return
            for number, record in enumerate(reader, start=2):
                if None in record or None in record.values():
                    yield number, InvalidValue(f"Row {number} has not {len(reader.fieldnames or [])} columns.")
                else:
                    yield number, row_of(record, columns or {})
        except (csv.Error, UnicodeDecodeError) as problem:
            yield reader.line_num + 1, InvalidValue(f"From row {reader.line_num + 1} on the file is no CSV in UTF-8: {problem}.")
