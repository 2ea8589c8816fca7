"""Annotation in this machine's database. What it changes is in the audit log, as through a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmos.access.base import LOCAL
from llmos.access.service import record_local
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
from llmos.data.annotate.service import Annotations
from llmos.infra.database import Database
from llmos.sdk.annotations_base import AnnotationCalls, Columns, ProjectRows
from llmos.settings import Settings


class LocalAnnotations(AnnotationCalls):
    """Of the machine's own user, who sees all projects."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._notes = Annotations(database)

    def create(self, name: str, task: str, config: Mapping[str, Any]) -> AnnotationProject:
        made = self._notes.create(name, task, config)
        self._record("create", made.id)
        return made

    def list(self) -> ProjectRows:
        return self._notes.projects.list(None)

    def get(self, ref: str) -> AnnotationProject:
        return self._notes.get(ref)

    def update(self, ref: str, config: Mapping[str, Any], *, name: str | None, version: int | None) -> AnnotationProject:
        changed = self._notes.projects.update(ref, config, project=None, name=name, version=version)
        self._record("update", changed.id)
        return changed

    def remove(self, ref: str) -> None:
        self._record("remove", self._notes.projects.remove(ref, None).id)

    def add(self, ref: str, rows: Sequence[Any], columns: Columns) -> ImportReport:
        report = self._notes.add(ref, rows, columns=columns)
        self._record("add_items", ref)
        return report

    def add_file(self, ref: str, path: Path, format: str | None, columns: Columns, annotator: str) -> ImportReport:
        report = self._notes.add_file(ref, path, format, columns=columns, annotator=annotator)
        self._record("add_items", ref)
        return report

    def next(self, ref: str, annotator: str | None, count: int) -> tuple[Assigned, ...]:
        return self._notes.next(ref, annotator or LOCAL.actor, count)

    def own(self, ref: str, item: int, annotator: str | None) -> Assigned:
        return self._notes.own(ref, item, annotator or LOCAL.actor)

    def save(self, ref: str, item: int, value: Mapping[str, Any], *, annotator: str | None, version: int, seconds: float) -> Saved:
        saved = self._notes.save(ref, item, annotator or LOCAL.actor, dict(value), version=version, seconds=seconds)
        self._record("save", f"{ref}/{item}")
        return saved

    def skip(self, ref: str, item: int, reason: str, *, annotator: str | None, version: int, seconds: float) -> Saved:
        saved = self._notes.skip(ref, item, annotator or LOCAL.actor, reason, version=version, seconds=seconds)
        self._record("skip", f"{ref}/{item}")
        return saved

    def undo(self, ref: str, annotator: str | None, count: int) -> tuple[Assigned, ...]:
        back = self._notes.undo(ref, annotator or LOCAL.actor, count)
        self._record("undo", ref)
        return back

    def adjudicate(self, ref: str, item: int, value: Mapping[str, Any] | None, *, annotator: str | None, note: str) -> Item:
        decided = self._notes.adjudicate(ref, item, annotator or LOCAL.actor, None if value is None else dict(value), note=note)
        self._record("adjudicate" if value is not None else "withdraw", f"{ref}/{item}")
        return decided

    def items(self, ref: str, *, state: ItemState | None, differs: bool | None, after: int, limit: int) -> tuple[Item, ...]:
        return self._notes.list_items(ref, state=state, differs=differs, after=after, limit=limit)

    def item(self, ref: str, item: int) -> Item:
        return self._notes.item(ref, item)

    def history(self, ref: str, *, item: int | None, after: int, limit: int) -> tuple[HistoryEntry, ...]:
        return self._notes.history(ref, item=item, after=after, limit=limit)

    def progress(self, ref: str) -> Progress:
        return self._notes.progress(ref)

    def agreement(self, ref: str) -> Agreement:
        return self._notes.agreement(ref)

    def label_errors(self, ref: str, probabilities: Mapping[str, Mapping[str, float]] | None) -> LabelErrors:
        return self._notes.label_errors(ref, probabilities)

    def text(self, ref: str, format: str) -> Iterator[str]:
        return self._notes.text(ref, format)

    def _record(self, what: str, target: str) -> None:
        record_local(self._settings, self._database, f"annotations.{what}", target)
