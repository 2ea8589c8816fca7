"""The contract of annotation for the SDK: what `llmos.annotations` needs, wherever the projects are kept.

    LocalAnnotations   this machine's database        HTTPAnnotations   a server, through its routes

`ref` is the id or the name of an annotation project. annotator None: who asks (the key; "local" without one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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

# `list` is a method below; inside the class its name means that.
ProjectRows = list[AnnotationProject]
Columns = Mapping[str, str]


class AnnotationCalls(ABC):
    """Every method may be called from any thread; a project that is not there, or of another project of access, is NotFound."""

    @abstractmethod
    def create(self, name: str, task: str, config: Mapping[str, Any]) -> AnnotationProject: ...

    @abstractmethod
    def list(self) -> ProjectRows: ...

    @abstractmethod
    def get(self, ref: str) -> AnnotationProject: ...

    @abstractmethod
    def update(self, ref: str, config: Mapping[str, Any], *, name: str | None, version: int | None) -> AnnotationProject: ...

    @abstractmethod
    def remove(self, ref: str) -> None: ...

    @abstractmethod
    def add(self, ref: str, rows: Sequence[Any], columns: Columns) -> ImportReport: ...

    @abstractmethod
    def add_file(self, ref: str, path: Path, format: str | None, columns: Columns, annotator: str) -> ImportReport: ...

    @abstractmethod
    def next(self, ref: str, annotator: str | None, count: int) -> tuple[Assigned, ...]: ...

    @abstractmethod
    def own(self, ref: str, item: int, annotator: str | None) -> Assigned: ...

    @abstractmethod
    def save(
        self, ref: str, item: int, value: Mapping[str, Any], *, annotator: str | None, version: int, seconds: float
    ) -> Saved: ...

    @abstractmethod
    def skip(self, ref: str, item: int, reason: str, *, annotator: str | None, version: int, seconds: float) -> Saved: ...

    @abstractmethod
    def undo(self, ref: str, annotator: str | None, count: int) -> tuple[Assigned, ...]: ...

    @abstractmethod
    def adjudicate(self, ref: str, item: int, value: Mapping[str, Any] | None, *, annotator: str | None, note: str) -> Item: ...

    @abstractmethod
    def items(self, ref: str, *, state: ItemState | None, differs: bool | None, after: int, limit: int) -> tuple[Item, ...]: ...

    @abstractmethod
    def item(self, ref: str, item: int) -> Item: ...

    @abstractmethod
    def history(self, ref: str, *, item: int | None, after: int, limit: int) -> tuple[HistoryEntry, ...]: ...

    @abstractmethod
    def progress(self, ref: str) -> Progress: ...

    @abstractmethod
    def agreement(self, ref: str) -> Agreement: ...

    @abstractmethod
    def label_errors(self, ref: str, probabilities: Mapping[str, Mapping[str, float]] | None) -> LabelErrors: ...

    @abstractmethod
    def text(self, ref: str, format: str) -> Iterator[str]:
        """The export as the text of a file, piece by piece."""
