"""Plain records on their way in: dicts from Python, JSON lines, JSON, CSV.

    {"id": "7", "text": "…"}                                           id is optional; everything else is the item's data
    {"id": "7", "data": {"text": "…"}, "annotations": [{"annotator": "ann", "value": {"label": "good"}}]}       what `export` writes

A column of another name is renamed: columns={"text": "body"} takes the item's text from "body".
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmos.data.annotate.base import Numbered, Prelabel, Row
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
        said = _said(record.get("annotations")) if wrapped else ()
        prelabel = _prelabel(record.get("prelabel")) if wrapped else None
    except InvalidValue as problem:
        return problem
    return Row(data=data, key=None if key is None else str(key), prelabel=prelabel, annotations=said)


_BESIDE = {"annotations", "prelabel", "value", "how", "item", "state"}  # of a record that `export` wrote


def _said(given: Any) -> tuple[tuple[str, dict[str, Any]], ...]:
    found = []
    for place, one in enumerate(given or []):
        where = f"annotations[{place}]"
        if not isinstance(one, Mapping) or not isinstance(one.get("annotator"), str):
            raise InvalidValue(f"{where} has no annotator.", param=where)
        if one.get("value") is not None:
            found.append((one["annotator"], one["value"]))
    return tuple(found)


def _prelabel(given: Any) -> Prelabel | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("value"), Mapping):
        raise InvalidValue("prelabel has no value.", param="prelabel")
    chances = given.get("probabilities")
    if chances is not None:
        chances = {str(name): float(chance) for name, chance in chances.items()}
    return Prelabel(value=dict(given["value"]), model=str(given.get("model", "")), probabilities=chances)


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
            for number, record in enumerate(reader, start=2):
                if None in record or None in record.values():
                    yield number, InvalidValue(f"Row {number} has not {len(reader.fieldnames or [])} columns.")
                else:
                    yield number, row_of(record, columns or {})
        except (csv.Error, UnicodeDecodeError) as problem:
            yield reader.line_num + 1, InvalidValue(f"From row {reader.line_num + 1} on the file is no CSV in UTF-8: {problem}.")
