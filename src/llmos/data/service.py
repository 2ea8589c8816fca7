"""What is asked of dataset versions from outside, as JSON: the same answers for the command line, the SDK and the routes.

    service = DatasetService(settings, database, project)       # project None: that of everybody
    service.list(), service.show("mails"), service.why("mails.jsonl#12"), service.diff("mails@3f", "mails@9c")

It knows no HTTP and no terminal. Running a recipe is data/run.py, and data/jobs.py as a job.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import polars as pl
import sqlalchemy as sa
from pydantic_core import PydanticUndefined

from llmos.data.base import ID, Models, Step, steps
from llmos.data.builtins import load
from llmos.data.diff import diff
from llmos.data.jobs import check_fetched
from llmos.data.preview import preview
from llmos.data.recipe import Recipe, Sink
from llmos.data.report import facts, page
from llmos.data.run import Run
from llmos.data.shown import Plain, ledger_of, plain_lines, plain_rows, rows_of
from llmos.data.statistics import statistics
from llmos.data.steps.where import parse
from llmos.data.store import Datasets, Version
from llmos.data.why import find_version, why
from llmos.data.writers.export import export_version
from llmos.errors import InvalidValue
from llmos.infra.database import Database
from llmos.infra.tables import jobs
from llmos.library.lineage import Edge, Lineage
from llmos.settings import Settings

MAX_ROWS = 1000  # of one page
MAX_BOUND = 500  # values in one IN (…)
Plains = list[Plain]  # `list` is a method below


class DatasetService:
    """Every `ref` is `name` or `name@` with the beginning of a version; what another project has is NotFound."""

    def __init__(self, settings: Settings, database: Database, project: str | None) -> None:
        load()
        self.settings, self.database = settings, database
        self.datasets = Datasets(settings, database, project)

    # -- versions ----------------------------------------------------------------------------------------------------
    def list(self, name: str | None = None) -> Plains:
        """Newest first."""
        return self._summaries(self.datasets.list(name))

    def _summaries(self, versions: Sequence[Version]) -> Plains:
        """Two projects that made the same rows share the files of a version; whose job wrote them is told to its project only."""
        told = [summary(one) for one in versions]
        asked, mine = sorted({one["job_id"] for one in told} - {""}), {""}
        if self.datasets.project is None:
            return told
        with self.database.begin(read_only=True) as connection:
            for start in range(0, len(asked), MAX_BOUND):
                these = jobs.c.id.in_(asked[start : start + MAX_BOUND])
                mine |= set(
                    connection.execute(sa.select(jobs.c.id).where(jobs.c.project == self.datasets.project, these)).scalars()
                )
        return [one if one["job_id"] in mine else one | {"job_id": ""} for one in told]

    def _summary(self, version: Version) -> Plain:
        return self._summaries([version])[0]

    def show(self, ref: str) -> Plain:
        version = self.datasets.get(ref)
        manifest = version.manifest
        return self._summary(version) | {
            "columns": manifest["identity"]["schema"],
            "sources": manifest["identity"]["parents"],
            "models": manifest["identity"]["models"],
            "recipe": manifest["identity"]["recipe"],
            "steps": {label: _short(one) for label, one in manifest["tally"]["steps"].items()},
            "code": manifest["code"],
            "path": str(version.path),
        }

    def remove(self, ref: str) -> Plain:
        return self._summary(self.datasets.remove(ref))

    def verify(self, ref: str) -> Plain:
        """Raises CorruptFile."""
        self.datasets.verify(ref)
        return self._summary(self.datasets.get(ref))

    def lineage(self, ref: str) -> Plain:
        """Both ways: what it was made of, and of what those were, and what was made of it."""
        version = self.datasets.get(ref)
        own, edges = f"dataset:{version.name}@{version.version}", Lineage(self.database)
        seen = {f"dataset:{one.name}@{one.version}" for one in self.datasets.list()}

        def told(found: Iterable[Edge]) -> Plains:
            """Of other projects' datasets nothing, though one of them may have the same version."""
            ends = ((one, {end for end in (one.child, one.parent) if end.startswith("dataset:")}) for one in found)
            return [_edge(one) for one, datasets in ends if datasets <= seen or self.datasets.project is None]

        return {"dataset": own, "ancestors": told(edges.ancestors(own)), "descendants": told(_descendants(edges, own))}

    # -- rows --------------------------------------------------------------------------------------------------------
    def rows(self, ref: str, *, offset: int = 0, limit: int = 50, where: str = "") -> Plain:
        """where: as in the step of that name. total: rows that fit."""
        version = self.datasets.get(ref)
        found = self._rows(version, where)
        total = version.num_rows if not where else int(found.select(pl.len()).collect(engine="streaming").item())
        return {"dataset": version.ref, "rows": plain_rows(_collected(found.slice(offset, min(limit, MAX_ROWS)))), "total": total}

    def jsonl(self, ref: str, *, ids: bool = True) -> Iterator[bytes]:
        """All rows, one JSON object a line, part after part."""
        version = self.datasets.get(ref)
        import pyarrow.parquet as pq

        for path in version.files:
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                frame: Any = pl.from_arrow(file.read_row_group(group))
                rows = plain_rows(frame if ids else frame.drop(ID))
                yield b"".join(orjson.dumps(row) + b"\n" for row in rows)

    def export(self, ref: str, path: str, *, format: str = "auto", ids: bool = False) -> Plain:
        """To a file, a folder or a store, as the sink of a recipe would. Raises InvalidValue, Conflict, StorageError."""
        version = self.datasets.get(ref)
        made = export_version(version, Sink(path=path, format=format, ids=ids))
        told = {
            "path": made.path,
            "format": made.format,
            "rows": made.num_rows,
            "bytes": made.size_bytes,
            "notes": list(made.notes),
        }
        return {"dataset": version.ref, **told}

    def ledger(self, ref: str, wanted: Mapping[str, str] | None = None, *, offset: int = 0, limit: int = 50) -> Plain:
        """wanted: action, step (label or name), signal, id of a row."""
        version = self.datasets.get(ref)
        found = ledger_of(version)
        for name, value in (wanted or {}).items():
            found = found.filter(_fits(name, value))
        total = int(found.select(pl.len()).collect(engine="streaming").item())
        return {"dataset": version.ref, "lines": plain_lines(found.slice(offset, min(limit, MAX_ROWS)).collect()), "total": total}

    def _rows(self, version: Version, where: str) -> pl.LazyFrame:
        found = rows_of(version)
        if not where:
            return found
        expression, names = parse(where)
        known = found.collect_schema().names()
        for name in names:
            if name not in known:
                raise InvalidValue(f"where: there is no column {name!r}.", param="where", hint=f"There are {', '.join(known)}.")
        return found.filter(expression.cast(pl.Boolean).fill_null(False))

    # -- what happened -----------------------------------------------------------------------------------------------
    def report(self, ref: str) -> Plain:
        return facts(self.datasets.get(ref))

    def statistics(self, ref: str) -> Plain:
        """What is in it, column by column."""
        return statistics(self.datasets.get(ref)).plain()

    def page(self, ref: str) -> str:
        """The report as HTML."""
        return page(self.report(ref))

    def why(self, identity: str, ref: str | None = None, *, replay: bool = True, fetch: bool = True) -> Plain:
        """ref None: the newest version that knows the row. fetch False: it is not replayed where its sources would be fetched anew."""
        version = self.datasets.get(ref) if ref else find_version(identity, self.datasets)
        note = "" if fetch or not replay else _not_here(version, self.settings)
        told = why(version, identity, self.datasets, again=replay and not note)
        return told | {"replay": {"row": None, "steps": [], "note": note}} if note else told

    def diff(self, first: str, second: str, *, examples: int = 5) -> Plain:
        return diff(self.datasets.get(first), self.datasets.get(second), examples=examples)

    def preview(self, recipe: Recipe, models: Models | None = None) -> Plain:
        return preview(Run(recipe=recipe, datasets=self.datasets, models=models))


def _not_here(version: Version, settings: Settings) -> str:
    """Why the sources of a version cannot be read again without fetching them, or nothing."""
    try:
        check_fetched(Recipe.model_validate(version.manifest["identity"]["recipe"]), settings)
    except InvalidValue as problem:
        return problem.message
    return ""


def _collected(found: pl.LazyFrame) -> pl.DataFrame:
    try:
        return found.collect()
    except pl.exceptions.PolarsError as problem:
        raise InvalidValue(f"where: it cannot be computed: {str(problem).splitlines()[0]}.", param="where") from None


def summary(version: Version) -> Plain:
    """A version on one line."""
    tally = version.manifest["tally"]
    return {
        "dataset": version.ref,
        "name": version.name,
        "version": version.version,
        "project": version.project,
        "created_at": version.created_at,
        "rows": version.num_rows,
        "bytes": version.size_bytes,
        "read": tally["read"],
        "errors": tally["errors"],
        "job_id": version.manifest["job_id"],
    }


def _short(tally: Plain) -> Plain:
    """Of a step, without its spreads."""
    return {name: value for name, value in tally.items() if name != "spreads"}


def _fits(name: str, value: str) -> pl.Expr:
    if name == "step":
        return (pl.col("step") == value) | pl.col("step").str.ends_with(f":{value}")
    columns: dict[str, Callable[[], pl.Expr]] = {
        "action": lambda: pl.col("action") == value,
        "signal": lambda: pl.col("signal") == value,
        "id": lambda: pl.col(ID) == value,
    }
    if name not in columns:
        raise InvalidValue(f"The ledger has no {name!r}.", param=name, hint="There are action, step, signal and id.")
    return columns[name]()


def _edge(one: Edge) -> Plain:
    return {"child": one.child, "parent": one.parent, "relation": one.relation}


def _descendants(edges: Lineage, parent: str) -> list[Edge]:
    found, waiting, seen = [], [parent], {parent}
    while waiting:
        for edge in edges.children(waiting.pop(0)):
            found.append(edge)
            if edge.child not in seen:
                seen.add(edge.child)
                waiting.append(edge.child)
    return found


# -- steps ---------------------------------------------------------------------------------------------------------------
def step_list(name: str | None = None) -> list[Plain]:
    """All steps, or one, with their parameters, from their own words. Raises NotFound with the nearest name."""
    load()
    found = [(name, steps.get(name))] if name is not None else list(steps)
    return [_step(label, cls) for label, cls in sorted(found, key=lambda one: one[0])]


def _step(name: str, cls: type[Step]) -> Plain:
    return {
        "step": name,
        "kind": cls.__mro__[[base.__module__ for base in cls.__mro__].index("llmos.data.base")].__name__.lower(),
        "about": inspect.cleandoc(cls.__doc__ or "").replace("\n", " "),
        "needs_model": cls.needs_model,
        "params": [_param(label, field) for label, field in cls.Config.model_fields.items()],
    }


def _param(name: str, field: Any) -> Plain:
    default = field.default if field.default_factory is None else field.default_factory()
    kind = getattr(field.annotation, "__name__", "") if isinstance(field.annotation, type) else str(field.annotation)
    limits = [str(one) for one in field.metadata]
    told = {"param": name, "type": kind.replace("typing.", ""), "required": field.is_required(), "limits": limits}
    if not field.is_required() and default is not PydanticUndefined:
        told["default"] = orjson.loads(orjson.dumps(default, default=str, option=orjson.OPT_NON_STR_KEYS))
    return told | {"about": field.description or _own_words(name)}


def _own_words(name: str) -> str:
    """Of parameters that every step shares."""
    return {"column": "The text it reads (and rewrites); empty: the recipe's text_column."}.get(name, "")
