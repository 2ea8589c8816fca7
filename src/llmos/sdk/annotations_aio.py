"""Annotation for an event loop: the methods of annotations.py, awaited. Every call runs in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmos.data.annotate.base import (
    Agreement,
    AnnotationProject,
    Assigned,
    HistoryEntry,
    ImportReport,
    Item,
    LabelErrors,
    Progress,
    Saved,
)
from llmos.sdk.annotations import AnnotationHandle, Annotations, Numbered
from llmos.sdk.jobs_aio import AsyncJobHandle


class AsyncAnnotationHandle:
    """`AnnotationHandle` with awaitable methods; see there for what each does and raises."""

    def __init__(self, handle: AnnotationHandle) -> None:
        self._handle = handle

    @property
    def record(self) -> AnnotationProject:
        return self._handle.record

    async def refresh(self) -> AsyncAnnotationHandle:
        await asyncio.to_thread(self._handle.refresh)
        return self

    async def update(self, *, name: str | None = None, **config: Any) -> AsyncAnnotationHandle:
        await asyncio.to_thread(self._handle.update, name=name, **config)
        return self

    async def remove(self) -> None:
        await asyncio.to_thread(self._handle.remove)

    async def add(self, rows: Iterable[Mapping[str, Any]], *, columns: Mapping[str, str] | None = None) -> ImportReport:
        return await asyncio.to_thread(self._handle.add, rows, columns=columns)

    async def add_file(self, path: str | Path, **options: Any) -> ImportReport:
        return await asyncio.to_thread(self._handle.add_file, path, **options)

    async def items(self, **wanted: Any) -> tuple[Item, ...]:
        return await asyncio.to_thread(self._handle.items, **wanted)

    async def item(self, item: Numbered) -> Item:
        return await asyncio.to_thread(self._handle.item, item)

    async def history(self, item: Numbered | None = None, **wanted: Any) -> tuple[HistoryEntry, ...]:
        return await asyncio.to_thread(self._handle.history, item, **wanted)

    async def next(self, count: int = 1, *, annotator: str | None = None) -> tuple[Assigned, ...]:
        return await asyncio.to_thread(self._handle.next, count, annotator=annotator)

    async def own(self, item: Numbered, *, annotator: str | None = None) -> Assigned:
        return await asyncio.to_thread(self._handle.own, item, annotator=annotator)

    async def save(self, item: Numbered, value: Mapping[str, Any], **options: Any) -> Saved:
        return await asyncio.to_thread(self._handle.save, item, value, **options)

    async def skip(self, item: Numbered, reason: str, **options: Any) -> Saved:
        return await asyncio.to_thread(self._handle.skip, item, reason, **options)

    async def undo(self, count: int = 1, *, annotator: str | None = None) -> tuple[Assigned, ...]:
        return await asyncio.to_thread(self._handle.undo, count, annotator=annotator)

    async def adjudicate(self, item: Numbered, value: Mapping[str, Any] | None, **options: Any) -> Item:
        return await asyncio.to_thread(self._handle.adjudicate, item, value, **options)

    async def prelabel(self, model: str, **params: Any) -> AsyncJobHandle:
        handle = await asyncio.to_thread(self._handle.prelabel, model, **params)
        return AsyncJobHandle(self._handle._jobs, handle.record)

    async def progress(self) -> Progress:
        return await asyncio.to_thread(self._handle.progress)

    async def agreement(self) -> Agreement:
        return await asyncio.to_thread(self._handle.agreement)

    async def label_errors(self, probabilities: Mapping[str, Mapping[str, float]] | None = None) -> LabelErrors:
        return await asyncio.to_thread(self._handle.label_errors, probabilities)

    async def rows(self, format: str = "annotations") -> list[dict[str, Any]]:
        """All of them at once."""
        return await asyncio.to_thread(lambda: list(self._handle.rows(format)))

    async def export(self, path: str | Path, format: str = "annotations") -> Path:
        return await asyncio.to_thread(self._handle.export, path, format)


Handles = list[AsyncAnnotationHandle]  # `list` is a method below


class AsyncAnnotations:
    """`Annotations` with awaitable methods."""

    def __init__(self, annotations: Annotations) -> None:
        self._annotations = annotations

    async def create(self, name: str, task: str, **config: Any) -> AsyncAnnotationHandle:
        return AsyncAnnotationHandle(await asyncio.to_thread(self._annotations.create, name, task, **config))

    async def list(self) -> Handles:
        return [AsyncAnnotationHandle(one) for one in await asyncio.to_thread(self._annotations.list)]

    async def get(self, ref: str) -> AsyncAnnotationHandle:
        return AsyncAnnotationHandle(await asyncio.to_thread(self._annotations.get, ref))
