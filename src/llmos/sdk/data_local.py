"""Data sets of this machine's home. What changes them is in the audit log, as through a server. polars is imported with the first call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from llmos.access.service import record_local
from llmos.library.library import Library
from llmos.sdk.data_base import DataCalls, Plain, Plains, absolute
from llmos.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from llmos.data.base import Models
    from llmos.data.recipe import Recipe
    from llmos.data.run import Control
    from llmos.data.service import DatasetService


class LocalData(DataCalls):
    """Of the machine's own user, who sees all projects."""

    def __init__(self, settings: Settings, library: Library, *, notify: Callable[[str], None] = lambda _: None) -> None:
        self._settings, self._library, self._notify = settings, library, notify

    @cached_property
    def _service(self) -> DatasetService:
        from llmos.data.service import DatasetService

        assert self._library.database is not None
        return DatasetService(self._settings, self._library.database, None)

    def run(self, recipe: Recipe, *, control: Control | None, share: tuple[int, int] | None) -> Plain:
        from llmos.data.run import Run, Unattended
        from llmos.data.service import summary

        with ExitStack() as opened:
            models = self._models(recipe, opened)
            told = control or Unattended()
            run = Run(recipe=recipe, datasets=self._service.datasets, control=told, models=models, share=share)
            version = run.execute()
        self._record("run", version.ref)
        written = [{"path": one.path, "format": one.format, "rows": one.num_rows, "notes": list(one.notes)} for one in run.exports]
        return summary(version) | {"computed_parts": run.num_computed, "exports": written}

    def _models(self, recipe: Recipe, opened: ExitStack) -> Models | None:
        from llmos.data.base import steps
        from llmos.data.builtins import load
        from llmos.data.models import LibraryModels

        load()
        if not any(call.step in steps and steps.get(call.step).needs_model for call in recipe.process):
            return None
        return opened.enter_context(LibraryModels(self._settings, self._library, pull=lambda _: None, notify=self._notify))

    def job_params(self, recipe: Recipe) -> Plain:
        return {"recipe": absolute(recipe).model_dump(mode="json")}

    def preview(self, recipe: Recipe) -> Plain:
        with ExitStack() as opened:
            return self._service.preview(recipe, self._models(recipe, opened))

    def list(self, name: str | None) -> Plains:
        return self._service.list(name)

    def show(self, ref: str) -> Plain:
        return self._service.show(ref)

    def rows(self, ref: str, *, offset: int, limit: int, where: str) -> Plain:
        return self._service.rows(ref, offset=offset, limit=limit, where=where)

    def ledger(self, ref: str, wanted: Mapping[str, str], *, offset: int, limit: int) -> Plain:
        return self._service.ledger(ref, wanted, offset=offset, limit=limit)

    def report(self, ref: str) -> Plain:
        return self._service.report(ref)

    def statistics(self, ref: str) -> Plain:
        return self._service.statistics(ref)

    def page(self, ref: str) -> str:
        return self._service.page(ref)

    def why(self, row: str, ref: str | None, *, replay: bool) -> Plain:
        return self._service.why(row, ref, replay=replay)

    def diff(self, first: str, second: str, *, examples: int) -> Plain:
        return self._service.diff(first, second, examples=examples)

    def lineage(self, ref: str) -> Plain:
        return self._service.lineage(ref)

    def verify(self, ref: str) -> Plain:
        return self._service.verify(ref)

    def remove(self, ref: str) -> Plain:
        gone = self._service.remove(ref)
        self._record("remove", gone["dataset"])
        return gone

    def jsonl(self, ref: str, *, ids: bool) -> Iterator[bytes]:
        return self._service.jsonl(ref, ids=ids)

    def export(self, ref: str, path: str, *, format: str, ids: bool) -> Plain:
        return self._service.export(ref, path, format=format, ids=ids)

    def scan(self, ref: str) -> pl.LazyFrame:
        from llmos.data.shown import rows_of

        return rows_of(self._service.datasets.get(ref))

    def steps(self, name: str | None) -> Plains:
        from llmos.data.service import step_list

        return step_list(name)

    def _record(self, what: str, target: str) -> None:
        record_local(self._settings, self._service.database, f"datasets.{what}", target)
