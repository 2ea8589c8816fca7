"""The contract of data sets for the SDK: what `llmos.data` needs, wherever they are kept.

    LocalData   this machine's home        HTTPData   a server, through its routes

`ref` is `name`, its newest version, or `name@` with the beginning of a version. Answers are those of the routes under /api/v1/datasets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from llmos.data.recipe import Recipe
    from llmos.data.run import Control

Plain = dict[str, Any]
Plains = list[Plain]  # `list` is a method below


class DataCalls(ABC):
    """Every method may be called from any thread; a data set that is not there, or of another project, is NotFound."""

    @abstractmethod
    def run(self, recipe: Recipe, *, control: Control | None, share: tuple[int, int] | None) -> Plain:
        """The version that comes out. control: told how far it is; ends it by raising."""

    @abstractmethod
    def job_params(self, recipe: Recipe) -> Plain:
        """The recipe as params of a job of the kind "data"."""

    @abstractmethod
    def preview(self, recipe: Recipe) -> Plain: ...

    @abstractmethod
    def list(self, name: str | None) -> Plains: ...

    @abstractmethod
    def show(self, ref: str) -> Plain: ...

    @abstractmethod
    def rows(self, ref: str, *, offset: int, limit: int, where: str) -> Plain: ...

    @abstractmethod
    def ledger(self, ref: str, wanted: Mapping[str, str], *, offset: int, limit: int) -> Plain: ...

    @abstractmethod
    def report(self, ref: str) -> Plain: ...

    @abstractmethod
    def statistics(self, ref: str) -> Plain: ...

    @abstractmethod
    def page(self, ref: str) -> str: ...

    @abstractmethod
    def why(self, row: str, ref: str | None, *, replay: bool) -> Plain: ...

    @abstractmethod
    def diff(self, first: str, second: str, *, examples: int) -> Plain: ...

    @abstractmethod
    def lineage(self, ref: str) -> Plain: ...

    @abstractmethod
    def verify(self, ref: str) -> Plain: ...

    @abstractmethod
    def remove(self, ref: str) -> Plain: ...

    @abstractmethod
    def jsonl(self, ref: str, *, ids: bool) -> Iterator[bytes]:
        """All rows as the bytes of a JSON lines file, piece by piece."""

    @abstractmethod
    def export(self, ref: str, path: str, *, format: str, ids: bool) -> Plain: ...

    @abstractmethod
    def scan(self, ref: str) -> pl.LazyFrame: ...

    @abstractmethod
    def steps(self, name: str | None) -> Plains: ...


def absolute(recipe: Recipe) -> Recipe:
    """With places on this machine's disk written in full, for who runs it from another folder."""

    def full(path: str) -> str:
        return (
            path
            if path.startswith(("s3://", "get:"))
            else str(Path(path).expanduser().absolute()) + ("/" if path.endswith("/") else "")
        )

    sources = tuple(one if one.path is None else one.model_copy(update={"path": full(one.path)}) for one in recipe.sources)
    sinks = tuple(one.model_copy(update={"path": full(one.path)}) for one in recipe.sinks)
    return recipe.model_copy(update={"sources": sources, "sinks": sinks})
