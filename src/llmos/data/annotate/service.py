"""Annotation as everybody above uses it: routes, the SDK in process, jobs. Finds the project as its caller may see it, then does the work.

    annotations = Annotations(database)
    made = annotations.create("sentiment", "classification", {"labels": ["good", "bad"], "overlap": 2})
    annotations.add(made.id, [{"text": "Lovely."}])
    [item] = annotations.next(made.id, "ann")
    annotations.save(made.id, item.item, "ann", {"label": "good"})

`ref` is the id or the name of an annotation project. `project` is that of access; None: whichever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmos.access.base import DEFAULT_PROJECT
from llmos.data.annotate import progress as figures
from llmos.data.annotate.base import (
    Agreement,
    AnnotationProject,
    Assigned,
    HistoryEntry,
    ImportReport,
    Item,
    ItemState,
    LabelErrors,
    Numbered,
    Progress,
    Saved,
    checked_annotator,
)
from llmos.data.annotate.exchange import conll, export, label_studio, records
from llmos.data.annotate.items import ItemStore
from llmos.data.annotate.leases import Leases
from llmos.data.annotate.prelabels import Prelabels, Probabilities
from llmos.data.annotate.review import Reviews
from llmos.data.annotate.store import ProjectStore
from llmos.data.annotate.work import Work
from llmos.errors import InvalidValue, did_you_mean
from llmos.infra.database import Database

IMPORTS = ("jsonl", "json", "csv", "label-studio", "conll")
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
}
MAX_LIST = 500

# `list` is a method of ProjectStore; here lists are tuples.


class Annotations:
    """Thread-safe, and safe beside other processes on the same database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database, self._clock = database, clock
        self.projects = ProjectStore(database)
        self.items = ItemStore(database)
        self.leases = Leases(database, clock)
        self.work = Work(database, self.leases)
        self.reviews = Reviews(database, self.items)
        self.prelabels = Prelabels(database, self.items)

    # -- projects ----------------------------------------------------------------------------------------------------
    def create(
        self, name: str, task: str, config: Mapping[str, Any], *, project: str = DEFAULT_PROJECT, created_by: str = "local"
    ) -> AnnotationProject:
        return self.projects.create(name, task, config, project=project, created_by=created_by)

    def get(self, ref: str, project: str | None = None) -> AnnotationProject:
        return self.projects.get(ref, project)

    # -- items -------------------------------------------------------------------------------------------------------
    def add(
        self, ref: str, rows: Iterable[Any], *, columns: Mapping[str, str] | None = None, project: str | None = None
    ) -> ImportReport:
        """Records, as exchange/records.py reads them."""
        return self.items.add(self.get(ref, project), records.rows_of(rows, columns))

    def add_file(
        self,
        ref: str,
        path: Path,
        format: str | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        annotator: str = "import",
        project: str | None = None,
    ) -> ImportReport:
        """format: one of IMPORTS; None: by the file's name. annotator: who is taken to have made the tags of a CoNLL file."""
        found = self.get(ref, project)
        return self.items.add(found, self._read(found, path, format, columns, checked_annotator(annotator)))

    def _read(
        self, found: AnnotationProject, path: Path, format: str | None, columns: Mapping[str, str] | None, annotator: str
    ) -> Iterator[Numbered]:
        format = format or format_of(path.name)
        if format not in IMPORTS:
            raise InvalidValue(f"There is no format {format!r}.", param="format", hint=did_you_mean(format, [*IMPORTS]))
        if format == "jsonl":
            return records.json_lines(path, columns)
        if format == "csv":
            return records.csv_rows(path, columns)
        if format == "conll":
            if found.task != "spans":
                raise InvalidValue(f"CoNLL is for the task 'spans'; {found.name!r} has {found.task!r}.", param="format")
            return conll.rows_of_file(path, annotator)
        document = records.json_document(path)
        if format == "label-studio" or _is_studio(document):
            return label_studio.rows_of(document, found, columns)
        if not isinstance(document, list):
            raise InvalidValue("The file must hold a list of items.", param="file")
        return records.rows_of(document, columns)

    def list_items(
        self,
        ref: str,
        *,
        state: ItemState | None = None,
        differs: bool | None = None,
        after: int = 0,
        limit: int = 50,
        project: str | None = None,
    ) -> tuple[Item, ...]:
        """For reviewers: with what everybody said."""
        if not 1 <= limit <= MAX_LIST:
            raise InvalidValue(f"limit is {limit}; 1 to {MAX_LIST} are possible.", param="limit")
        found = self.get(ref, project)
        return tuple(self.items.list(found, state=state, differs=differs, after=after, limit=limit))

    def item(self, ref: str, item: int, *, project: str | None = None) -> Item:
        return self.items.get(self.get(ref, project), item)

    def history(
        self, ref: str, *, item: int | None = None, after: int = 0, limit: int = 100, project: str | None = None
    ) -> tuple[HistoryEntry, ...]:
        if not 1 <= limit <= MAX_LIST:
            raise InvalidValue(f"limit is {limit}; 1 to {MAX_LIST} are possible.", param="limit")
        return self.items.history(self.get(ref, project), item=item, after=after, limit=limit)

    # -- work --------------------------------------------------------------------------------------------------------
    def next(self, ref: str, annotator: str, count: int = 1, *, project: str | None = None) -> tuple[Assigned, ...]:
        return self.leases.next(self.get(ref, project), checked_annotator(annotator), count)

    def own(self, ref: str, item: int, annotator: str, *, project: str | None = None) -> Assigned:
        return self.work.own(self.get(ref, project), item, checked_annotator(annotator))

    def save(
        self,
        ref: str,
        item: int,
        annotator: str,
        value: Any,
        *,
        version: int = 0,
        seconds: float = 0.0,
        project: str | None = None,
    ) -> Saved:
        found = self.get(ref, project)
        return self.work.save(found, item, checked_annotator(annotator), value, version=version, seconds=seconds)

    def skip(
        self,
        ref: str,
        item: int,
        annotator: str,
        reason: str,
        *,
        version: int = 0,
        seconds: float = 0.0,
        project: str | None = None,
    ) -> Saved:
        found = self.get(ref, project)
        return self.work.skip(found, item, checked_annotator(annotator), reason, version=version, seconds=seconds)

    def undo(self, ref: str, annotator: str, count: int = 1, *, project: str | None = None) -> tuple[Assigned, ...]:
        return self.work.undo(self.get(ref, project), checked_annotator(annotator), count)

    def adjudicate(self, ref: str, item: int, reviewer: str, value: Any, *, note: str = "", project: str | None = None) -> Item:
        return self.reviews.adjudicate(self.get(ref, project), item, reviewer, value, note=note)

    # -- figures -----------------------------------------------------------------------------------------------------
    def progress(self, ref: str, *, project: str | None = None) -> Progress:
        return figures.progress(self.database, self.get(ref, project), self._clock)

    def agreement(self, ref: str, *, project: str | None = None) -> Agreement:
        return figures.agreement(self.database, self.get(ref, project))

    def label_errors(self, ref: str, probabilities: Probabilities | None = None, *, project: str | None = None) -> LabelErrors:
        return self.prelabels.label_errors(self.get(ref, project), probabilities)

    # -- out ---------------------------------------------------------------------------------------------------------
    def rows(self, ref: str, format: str = "annotations", *, project: str | None = None) -> Iterator[dict[str, Any]]:
        return export.rows(self.items, self.get(ref, project), format)

    def text(self, ref: str, format: str = "annotations", *, project: str | None = None) -> Iterator[str]:
        """The rows as the text of a file."""
        return export.text(self.items, self.get(ref, project), format)


def format_of(filename: str) -> str:
    """By the end of its name. Raises InvalidValue when that says nothing."""
    suffix = Path(filename).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidValue(f"The name {filename!r} does not say the format.", param="format", hint=f"One of {', '.join(IMPORTS)}.")
    return _SUFFIXES[suffix]


def _is_studio(document: Any) -> bool:
    """Tasks of Label Studio have `data` and results, which no record of ours has."""
    first = document[0] if isinstance(document, list) and document else None
    if not isinstance(first, dict) or "data" not in first:
        return False
    said = [*first.get("annotations", []), *first.get("predictions", [])]
    return any(isinstance(one, dict) and "result" in one for one in said)
