"""Data sets for an event loop: the methods of data.py, awaited. Every call runs in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.sdk.data import Data, Dataset
from llmos.sdk.data_base import Plain, Plains
from llmos.sdk.jobs_aio import AsyncJobHandle

if TYPE_CHECKING:
    import polars as pl

    from llmos.data.recipe import Recipe


class AsyncDataset:
    """`Dataset` with awaitable methods; see there for what each does and raises."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def info(self) -> Plain:
        return self._dataset.info

    @property
    def ref(self) -> str:
        return self._dataset.ref

    async def show(self) -> Plain:
        return await asyncio.to_thread(self._dataset.show)

    async def head(self, n: int = 5, *, where: str = "") -> Plains:
        return await asyncio.to_thread(self._dataset.head, n, where=where)

    async def rows(self, *, where: str = "") -> Plains:
        """All of them at once."""
        return await asyncio.to_thread(lambda: list(self._dataset.rows(where=where)))

    def scan(self) -> pl.LazyFrame:
        return self._dataset.scan()

    async def ledger(self, **wanted: Any) -> Plains:
        return await asyncio.to_thread(self._dataset.ledger, **wanted)

    async def errors(self, limit: int = 100) -> Plains:
        return await asyncio.to_thread(self._dataset.errors, limit)

    async def why(self, row: str, *, replay: bool = True) -> Plain:
        return await asyncio.to_thread(self._dataset.why, row, replay=replay)

    async def diff(self, other: AsyncDataset | str, *, examples: int = 5) -> Plain:
        second = other if isinstance(other, str) else other._dataset
        return await asyncio.to_thread(self._dataset.diff, second, examples=examples)

    async def statistics(self) -> Plain:
        return await asyncio.to_thread(self._dataset.statistics)

    async def report(self, path: str | Path | None = None) -> Plain:
        return await asyncio.to_thread(self._dataset.report, path)

    async def lineage(self) -> Plain:
        return await asyncio.to_thread(self._dataset.lineage)

    async def export(self, path: str | Path, *, format: str = "auto", ids: bool = False) -> Plain:
        return await asyncio.to_thread(self._dataset.export, path, format=format, ids=ids)

    async def verify(self) -> None:
        await asyncio.to_thread(self._dataset.verify)

    async def remove(self) -> None:
        await asyncio.to_thread(self._dataset.remove)


Datasets = list[AsyncDataset]  # `list` is a method below
Given = str | Path | Mapping[str, Any]


class AsyncData:
    """`Data` with awaitable methods."""

    def __init__(self, data: Data) -> None:
        self._data = data

    async def run(self, recipe: Given | Recipe, *overrides: str, name: str | None = None) -> AsyncDataset:
        return AsyncDataset(await asyncio.to_thread(self._data.run, recipe, *overrides, name=name))

    async def submit(self, recipe: Given | Recipe, *overrides: str, name: str | None = None) -> AsyncJobHandle:
        handle = await asyncio.to_thread(self._data.submit, recipe, *overrides, name=name)
        return AsyncJobHandle(self._data._jobs, handle.record)

    async def preview(self, recipe: Given | Recipe, *overrides: str) -> Plain:
        return await asyncio.to_thread(self._data.preview, recipe, *overrides)

    async def list(self, name: str | None = None) -> Datasets:
        return [AsyncDataset(one) for one in await asyncio.to_thread(self._data.list, name)]

    async def get(self, ref: str) -> AsyncDataset:
        return AsyncDataset(await asyncio.to_thread(self._data.get, ref))

    async def why(self, row: str, dataset: str | None = None, *, replay: bool = True) -> Plain:
        return await asyncio.to_thread(self._data.why, row, dataset, replay=replay)

    async def diff(self, first: str, second: str, *, examples: int = 5) -> Plain:
        return await asyncio.to_thread(self._data.diff, first, second, examples=examples)

    async def statistics(self, ref: str) -> Plain:
        return await asyncio.to_thread(self._data.statistics, ref)

    async def steps(self, name: str | None = None) -> Plains:
        return await asyncio.to_thread(self._data.steps, name)
