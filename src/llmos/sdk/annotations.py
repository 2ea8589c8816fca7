"""Annotation from Python: projects in which people label items, in this machine's database or on a server.

    project = llmos.annotations.create("mood", "classification", labels=["good", "bad"], overlap=2)
    project.add([{"text": "Lovely."}, {"text": "Never again."}])
    for item in project.next(2):
        project.save(item, {"label": "good"})
    project.progress(), project.agreement()
    rows = list(project.rows("rows"))

Tasks: classification, multilabel, spans, preference, rating, text, translation, conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llmos.data.annotate.base import (
    Agreement,
    AnnotationProject,
    Assigned,
    HistoryEntry,
    ImportReport,
    Item,
    ItemState,
    LabelErrors,
    Progress,
    Saved,
)
from llmos.errors import NotFound, UnsupportedFeature
from llmos.infra.files import write_atomic
from llmos.sdk.annotations_base import AnnotationCalls
from llmos.sdk.jobs import JobHandle, Jobs

if TYPE_CHECKING:
    from llmos.sdk.base import JobCalls

Handles = list["AnnotationHandle"]  # `list` is a method below
Numbered = Assigned | Item | int


class AnnotationHandle:
    """One annotation project. `record` is how it was when last looked at."""

    def __init__(self, calls: AnnotationCalls, jobs: JobCalls, record: AnnotationProject) -> None:
        self._calls, self._jobs = calls, jobs
        self.record = record

    def __repr__(self) -> str:
        return f"AnnotationHandle({self.name!r}, {self.task!r}, {self.record.num_items} items)"

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def task(self) -> str:
        return self.record.task

    def refresh(self) -> Self:
        """Looks again."""
        self.record = self._calls.get(self.id)
        return self

    def update(self, *, name: str | None = None, **config: Any) -> Self:
        """Changes the name, or fields of the configuration (guidelines, labels, overlap, …). Raises Conflict when somebody else
        changed it since it was looked at."""
        self.record = self._calls.update(self.id, config, name=name, version=self.record.version)
        return self

    def remove(self) -> None:
        """Forgets it, with its items, annotations and history."""
        self._calls.remove(self.id)

    # -- items -------------------------------------------------------------------------------------------------------
    def add(self, rows: Iterable[Mapping[str, Any]], *, columns: Mapping[str, str] | None = None) -> ImportReport:
        """Items from dicts. `id` is optional; adding the same row again changes nothing. columns: {"text": "body"} takes the
        text from the column "body". Rows that are wrong are in the report with their numbers; the others come in."""
        report = self._calls.add(self.id, list(rows), columns or {})
        self.refresh()
        return report

    def add_file(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        columns: Mapping[str, str] | None = None,
        annotator: str = "import",
    ) -> ImportReport:
        """Items, and annotations that come with them, from a file: jsonl, json, csv, label-studio, conll; by its name when not
        said. annotator: who is taken to have made the tags of a CoNLL file."""
        file = Path(path)
        if not file.is_file():
            raise NotFound(f"There is no file {file}.", param="path")
        report = self._calls.add_file(self.id, file, format, columns or {}, annotator)
        self.refresh()
        return report

    def items(self, *, state: str | None = None, differs: bool | None = None, after: int = 0, limit: int = 50) -> tuple[Item, ...]:
        """For review: items with what everybody said. differs: annotators gave different answers."""
        wanted = None if state is None else ItemState(state)
        return self._calls.items(self.id, state=wanted, differs=differs, after=after, limit=limit)

    def item(self, item: Numbered) -> Item:
        return self._calls.item(self.id, _number(item))

    def history(self, item: Numbered | None = None, *, after: int = 0, limit: int = 100) -> tuple[HistoryEntry, ...]:
        """Who said what when, and what was there before."""
        return self._calls.history(self.id, item=None if item is None else _number(item), after=after, limit=limit)

    # -- work --------------------------------------------------------------------------------------------------------
    def next(self, count: int = 1, *, annotator: str | None = None) -> tuple[Assigned, ...]:
        """The next items for an annotator, reserved; none when nothing is left. annotator: the key's own when not said."""
        return self._calls.next(self.id, annotator, count)

    def own(self, item: Numbered, *, annotator: str | None = None) -> Assigned:
        """An item as its annotator sees it: with what that one said before."""
        return self._calls.own(self.id, _number(item), annotator)

    def save(
        self,
        item: Numbered,
        value: Mapping[str, Any],
        *,
        annotator: str | None = None,
        version: int | None = None,
        seconds: float = 0.0,
    ) -> Saved:
        """On disk when it returns. version: of the annotation it replaces; taken from the item when that brings the own one.
        Raises Conflict when it was saved elsewhere meanwhile, InvalidValue naming the field of the value."""
        known = _version(item) if version is None else version
        return self._calls.save(self.id, _number(item), value, annotator=annotator, version=known, seconds=seconds)

    def skip(
        self, item: Numbered, reason: str, *, annotator: str | None = None, version: int | None = None, seconds: float = 0.0
    ) -> Saved:
        """The item goes to somebody else."""
        known = _version(item) if version is None else version
        return self._calls.skip(self.id, _number(item), reason, annotator=annotator, version=known, seconds=seconds)

    def undo(self, count: int = 1, *, annotator: str | None = None) -> tuple[Assigned, ...]:
        """Takes the annotator's own last saves back; the items come again."""
        return self._calls.undo(self.id, annotator, count)

    def adjudicate(self, item: Numbered, value: Mapping[str, Any] | None, *, note: str = "", annotator: str | None = None) -> Item:
        """A reviewer's decision, beside what the annotators said; None takes it back."""
        return self._calls.adjudicate(self.id, _number(item), value, annotator=annotator, note=note)

    def prelabel(self, model: str, **params: Any) -> JobHandle:
        """A job that lets a model label the items first: suggestions, never counted as annotations. params: those of the kind
        `prelabel` (chunk, overwrite, uncertainty, template, prompt, max_tokens)."""
        return Jobs(self._jobs).submit("prelabel", {"annotation": self.id, "model": model, **params})

    # -- figures and export ------------------------------------------------------------------------------------------
    def progress(self) -> Progress:
        return self._calls.progress(self.id)

    def agreement(self) -> Agreement:
        """Cohen's kappa, Fleiss' kappa, Krippendorff's alpha, F1 of spans: those that fit the task."""
        return self._calls.agreement(self.id)

    def label_errors(self, probabilities: Mapping[str, Mapping[str, float]] | None = None) -> LabelErrors:
        """Labels that are probably wrong, by confident learning. probabilities: key of an item -> label -> probability, of a
        model that did not learn these labels; those of the pre-labels when not given."""
        return self._calls.label_errors(self.id, probabilities)

    def rows(self, format: str = "annotations") -> Iterator[dict[str, Any]]:
        """annotations (all of it), rows (final values only), messages, preferences, label-studio."""
        if format in ("conll", "label-studio-config"):
            raise UnsupportedFeature(f"{format} has no rows.", param="format", hint=f"Use text({format!r}) or export.")
        text = self._calls.text(self.id, format)
        if format == "label-studio":
            yield from json.loads("".join(text))
            return
        rest = ""
        for piece in text:
            *whole, rest = (rest + piece).split("\n")
            yield from (json.loads(line) for line in whole)

    def text(self, format: str = "annotations") -> Iterator[str]:
        """The export as the text of a file, piece by piece; also "conll" and "label-studio-config"."""
        return self._calls.text(self.id, format)

    def export(self, path: str | Path, format: str = "annotations") -> Path:
        """Writes the export; the file is there whole, or not at all."""
        file = Path(path)
        write_atomic(file, "".join(self.text(format)))
        return file


class Annotations:
    """`llmos.annotations`: create, list, get."""

    def __init__(self, calls: AnnotationCalls, jobs: JobCalls) -> None:
        self._calls, self._jobs = calls, jobs

    def create(self, name: str, task: str, **config: Any) -> AnnotationHandle:
        """A new project. config: labels (names, or dicts with name, key, description), guidelines (Markdown), overlap, order
        ("imported", "random", "uncertainty"), annotators, reviewers, lease_s, options of the task. Raises InvalidValue naming
        the field, Conflict for a name that is taken."""
        return AnnotationHandle(self._calls, self._jobs, self._calls.create(name, task, config))

    def list(self) -> Handles:
        """The newest first."""
        return [AnnotationHandle(self._calls, self._jobs, record) for record in self._calls.list()]

    def get(self, ref: str) -> AnnotationHandle:
        """By id or name. Raises NotFound."""
        return AnnotationHandle(self._calls, self._jobs, self._calls.get(ref))


def _number(item: Numbered) -> int:
    return item if isinstance(item, int) else item.item


def _version(item: Numbered) -> int:
    return item.own.version if isinstance(item, Assigned) and item.own is not None else 0
