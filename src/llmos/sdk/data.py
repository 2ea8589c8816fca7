"""Data sets from Python: recipes that make them, and what there is to know of each.

    mails = llmos.data.run("mails.yaml", "process.text_length.min_chars=100")
    mails.head(), mails.report("report.html"), mails.errors()
    llmos.data.why("mails.jsonl#123")                       # everything that happened to that row
    llmos.data.get("mails@3fa9").diff(mails)
    frame = mails.scan().filter(…)                          # a polars LazyFrame, on this machine

A version never changes. The recipe is a file, a dict as in such a file, or a Recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.infra.files import write_atomic
from llmos.sdk.data_base import DataCalls, Plain, Plains
from llmos.sdk.jobs import JobHandle, Jobs

if TYPE_CHECKING:
    import polars as pl

    from llmos.data.recipe import Recipe
    from llmos.sdk.base import JobCalls

PAGE = 500
FACTS = ("dataset", "name", "version", "project", "created_at", "rows", "bytes", "read", "errors", "job_id")


class Dataset:
    """One version. info: its name, version, rows, bytes, when it was made, rows read and rows in error."""

    def __init__(self, calls: DataCalls, info: Plain) -> None:
        self._calls = calls
        self.info = {name: info[name] for name in FACTS}

    def __repr__(self) -> str:
        return f"Dataset({self.ref!r}, {self.num_rows:,} rows)"

    @property
    def ref(self) -> str:
        """name@version, as every call takes it."""
        return str(self.info["dataset"])

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def version(self) -> str:
        return str(self.info["version"])

    @property
    def num_rows(self) -> int:
        return int(self.info["rows"])

    def show(self) -> Plain:
        """With its columns, sources, recipe, and what every step did."""
        return self._calls.show(self._exact)

    def head(self, n: int = 5, *, where: str = "") -> Plains:
        """The first rows. where: an expression over the columns: n > 3 and language == 'en'."""
        return list(self._calls.rows(self._exact, offset=0, limit=n, where=where)["rows"])

    def rows(self, *, where: str = "") -> Iterator[Plain]:
        """All rows, page by page."""
        offset = 0
        while page := self._calls.rows(self._exact, offset=offset, limit=PAGE, where=where)["rows"]:
            yield from page
            offset += len(page)

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily. Raises UnsupportedFeature for a data set of a server."""
        return self._calls.scan(self._exact)

    def ledger(self, *, limit: int = 100, offset: int = 0, **wanted: str) -> Plains:
        """What became of rows. wanted: action ("dropped", "changed", "error", …), step, signal, id."""
        return list(self._calls.ledger(self._exact, wanted, offset=offset, limit=limit)["lines"])

    def errors(self, limit: int = 100) -> Plains:
        """Rows that could not be used, with their lines and the reasons."""
        return self.ledger(action="error", limit=limit)

    def why(self, row: str, *, replay: bool = True) -> Plain:
        """Everything that happened to a row."""
        return self._calls.why(row, self._exact, replay=replay)

    def diff(self, other: Dataset | str, *, examples: int = 5) -> Plain:
        """What is in this one only, in the other only, and changed, with the reasons."""
        return self._calls.diff(self._exact, other if isinstance(other, str) else other._exact, examples=examples)

    def report(self, path: str | Path | None = None) -> Plain:
        """Its figures; with a path also as an HTML page that needs nothing else."""
        if path is not None:
            write_atomic(Path(path), self._calls.page(self._exact))
        return self._calls.report(self._exact)

    def statistics(self) -> Plain:
        """What is in it, column by column: lengths, ranges, most frequent values, repeats."""
        return self._calls.statistics(self._exact)

    def lineage(self) -> Plain:
        """What it was made of, and what was made of it."""
        return self._calls.lineage(self._exact)

    def export(self, path: str | Path, *, format: str = "auto", ids: bool = False) -> Plain:
        """Its rows as a file; the ending says the format (.jsonl.zst, .csv, .parquet …)."""
        return self._calls.export(self._exact, str(path), format=format, ids=ids)

    def verify(self) -> None:
        """Reads all its files. Raises CorruptFile."""
        self._calls.verify(self._exact)

    def remove(self) -> None:
        """Forgets it. Raises Conflict when another one was made of it."""
        self._calls.remove(self._exact)

    @property
    def _exact(self) -> str:
        return f"{self.name}@{self.version}"


Datasets = list[Dataset]  # `list` is a method below


class Data:
    """`llmos.data`."""

    def __init__(self, calls: DataCalls, jobs: JobCalls) -> None:
        self._calls, self._jobs = calls, jobs

    def run(self, recipe: str | Path | Mapping[str, Any] | Recipe, *overrides: str, name: str | None = None) -> Dataset:
        """Runs a recipe and waits: in this process, or as a job of the server. overrides: "process.text_length.min_chars=100". What an
        earlier run has computed is not computed again. Raises InvalidValue that names the field."""
        return Dataset(self._calls, self._calls.run(made(recipe, overrides, name), control=None, share=None))

    def submit(self, recipe: str | Path | Mapping[str, Any] | Recipe, *overrides: str, name: str | None = None) -> JobHandle:
        """The same as a job, without waiting; `job.wait()["dataset"]` is what `get` takes."""
        return Jobs(self._jobs).submit("data", self._calls.job_params(made(recipe, overrides, name)))

    def preview(self, recipe: str | Path | Mapping[str, Any] | Recipe, *overrides: str) -> Plain:
        """A dry run: sources, plan, estimate, rows after every step."""
        return self._calls.preview(made(recipe, overrides))

    def list(self, name: str | None = None) -> Datasets:
        """The newest first."""
        return [Dataset(self._calls, one) for one in self._calls.list(name)]

    def get(self, ref: str) -> Dataset:
        """`name`, its newest version, or `name@` with the beginning of a version. Raises NotFound."""
        return Dataset(self._calls, self._calls.show(ref))

    def why(self, row: str, dataset: str | None = None, *, replay: bool = True) -> Plain:
        """Everything that happened to a row; of the newest version that knows it."""
        return self._calls.why(row, dataset, replay=replay)

    def diff(self, first: str, second: str, *, examples: int = 5) -> Plain:
        return self._calls.diff(first, second, examples=examples)

    def statistics(self, ref: str) -> Plain:
        """What is in it, column by column."""
        return self._calls.statistics(ref)

    def steps(self, name: str | None = None) -> Plains:
        """What a recipe can do, with all parameters."""
        return self._calls.steps(name)


def made(recipe: str | Path | Mapping[str, Any] | Recipe, overrides: tuple[str, ...] = (), name: str | None = None) -> Recipe:
    """Raises NotFound, InvalidValue that names the field."""
    from llmos.data.recipe import Recipe

    given = (*overrides, *([f"name={name}"] if name else []))
    if isinstance(recipe, Recipe):
        return recipe if not given else Recipe.build(recipe.model_dump(mode="json"), given)
    if isinstance(recipe, Mapping):
        return Recipe.build(recipe, given)
    return Recipe.load(recipe, given)
