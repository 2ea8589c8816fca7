"""Annotation on a server, through its documented routes. Long lists of items go in pieces, files by upload."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from llmos.data.annotate.base import (
    MAX_PROBLEMS,
    Agreement,
    AnnotationProject,
    Assigned,
    HistoryEntry,
    ImportReport,
    Item,
    ItemState,
    LabelErrors,
    Problem,
    Progress,
    Saved,
)
from llmos.sdk.annotations_base import AnnotationCalls, Columns, ProjectRows

PIECE_BYTES = 4 << 20  # of one import; a body has 8 MB at most
BASE = "/api/v1/annotations"
T = TypeVar("T")
Query = dict[str, str]


class HTTPAnnotations(AnnotationCalls):
    """call: the transport's (method, path, body=, params=) -> JSON. stream: (path, params) -> bytes as they come. upload: a file of this
    machine -> its id there."""

    def __init__(
        self, call: Callable[..., Any], stream: Callable[[str, Query], Iterator[bytes]], upload: Callable[[Path], str]
    ) -> None:
        self._call, self._stream, self._upload = call, stream, upload

    def create(self, name: str, task: str, config: Mapping[str, Any]) -> AnnotationProject:
        return self._as(AnnotationProject, "POST", "", {"name": name, "task": task, "config": dict(config)})

    def list(self) -> ProjectRows:
        return msgspec.convert(self._call("GET", BASE)["annotations"], list[AnnotationProject])

    def get(self, ref: str) -> AnnotationProject:
        return self._as(AnnotationProject, "GET", _at(ref))

    def update(self, ref: str, config: Mapping[str, Any], *, name: str | None, version: int | None) -> AnnotationProject:
        return self._as(AnnotationProject, "PATCH", _at(ref), {"config": dict(config), "name": name, "version": version})

    def remove(self, ref: str) -> None:
        self._call("DELETE", BASE + _at(ref))

    def add(self, ref: str, rows: Sequence[Any], columns: Columns) -> ImportReport:
        whole, place = ImportReport(), 0
        for piece in _pieces(rows):
            body = {"items": piece, "columns": dict(columns)}
            whole = _together(whole, self._as(ImportReport, "POST", f"{_at(ref)}/items", body), place)
            place += len(piece)
        return whole

    def add_file(self, ref: str, path: Path, format: str | None, columns: Columns, annotator: str) -> ImportReport:
        file_id = self._upload(path)
        try:
            body = {"file_id": file_id, "format": format, "columns": dict(columns), "annotator": annotator}
            return self._as(ImportReport, "POST", f"{_at(ref)}/items", body)
        finally:
            self._call("DELETE", f"/v1/files/{file_id}")

    def next(self, ref: str, annotator: str | None, count: int) -> tuple[Assigned, ...]:
        return self._assigned(f"{_at(ref)}/next", {"count": count, "annotator": annotator})

    def own(self, ref: str, item: int, annotator: str | None) -> Assigned:
        return self._as(Assigned, "GET", f"{_at(ref)}/items/{item}", params=_given(annotator=annotator))

    def save(self, ref: str, item: int, value: Mapping[str, Any], *, annotator: str | None, version: int, seconds: float) -> Saved:
        body = {"value": dict(value), "annotator": annotator, "version": version, "seconds": seconds}
        return self._as(Saved, "PUT", f"{_at(ref)}/items/{item}/annotation", body)

    def skip(self, ref: str, item: int, reason: str, *, annotator: str | None, version: int, seconds: float) -> Saved:
        body = {"reason": reason, "annotator": annotator, "version": version, "seconds": seconds}
        return self._as(Saved, "POST", f"{_at(ref)}/items/{item}/skip", body)

    def undo(self, ref: str, annotator: str | None, count: int) -> tuple[Assigned, ...]:
        return self._assigned(f"{_at(ref)}/undo", {"count": count, "annotator": annotator})

    def adjudicate(self, ref: str, item: int, value: Mapping[str, Any] | None, *, annotator: str | None, note: str) -> Item:
        path = f"{_at(ref)}/items/{item}/adjudication"
        if value is None:
            return self._as(Item, "DELETE", path, params=_given(annotator=annotator))
        return self._as(Item, "PUT", path, {"value": dict(value), "annotator": annotator, "note": note})

    def items(self, ref: str, *, state: ItemState | None, differs: bool | None, after: int, limit: int) -> tuple[Item, ...]:
        wanted = _given(state=state, differs=None if differs is None else str(differs).lower(), after=after, limit=limit)
        return msgspec.convert(self._call("GET", f"{BASE}{_at(ref)}/items", params=wanted)["items"], tuple[Item, ...])

    def item(self, ref: str, item: int) -> Item:
        return self._as(Item, "GET", f"{_at(ref)}/items/{item}/review")

    def history(self, ref: str, *, item: int | None, after: int, limit: int) -> tuple[HistoryEntry, ...]:
        found = self._call("GET", f"{BASE}{_at(ref)}/history", params=_given(item=item, after=after, limit=limit))
        return msgspec.convert(found["history"], tuple[HistoryEntry, ...])

    def progress(self, ref: str) -> Progress:
        return self._as(Progress, "GET", f"{_at(ref)}/progress")

    def agreement(self, ref: str) -> Agreement:
        return self._as(Agreement, "GET", f"{_at(ref)}/agreement")

    def label_errors(self, ref: str, probabilities: Mapping[str, Mapping[str, float]] | None) -> LabelErrors:
        given = None if probabilities is None else {key: dict(one) for key, one in probabilities.items()}
        return self._as(LabelErrors, "POST", f"{_at(ref)}/label-errors", {"probabilities": given})

    def text(self, ref: str, format: str) -> Iterator[str]:
        return codecs.iterdecode(self._stream(f"{BASE}{_at(ref)}/export", {"format": format}), "utf-8")

    def _as(self, kind: type[T], method: str, path: str, body: dict[str, Any] | None = None, *, params: Query | None = None) -> T:
        return msgspec.convert(self._call(method, BASE + path, body, params=params), kind)

    def _assigned(self, path: str, body: dict[str, Any]) -> tuple[Assigned, ...]:
        return msgspec.convert(self._call("POST", BASE + path, body)["items"], tuple[Assigned, ...])


def _at(ref: str) -> str:
    return "/" + quote(ref, safe="")


def _given(**values: Any) -> Query:
    return {name: str(value) for name, value in values.items() if value is not None}


def _pieces(rows: Sequence[Any]) -> Iterator[list[Any]]:
    """Of at most so many bytes of JSON each; a row that is longer alone is a piece, which the server refuses."""
    piece: list[Any] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row))
        if piece and size + length > PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += length
    if piece:
        yield piece


def _together(whole: ImportReport, piece: ImportReport, before: int) -> ImportReport:
    """Two reports as one; rows of the second are counted from `before` on."""
    moved = [Problem(row=before + one.row, message=one.message, param=one.param) for one in piece.problems]
    return ImportReport(
        num_added=whole.num_added + piece.num_added,
        num_known=whole.num_known + piece.num_known,
        num_annotations=whole.num_annotations + piece.num_annotations,
        num_problems=whole.num_problems + piece.num_problems,
        problems=(*whole.problems, *moved)[:MAX_PROBLEMS],
    )
