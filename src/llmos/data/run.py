"""Runs a recipe: stage after stage, part after part, and publishes what comes out as a dataset version.

    sources -> pieces ──stage 0──> parts ──decide──> verdicts ──stage 1──> parts … ──publish──> version

What was computed before is found by its key and not computed again: a run that was killed goes on where it was, and a run with one more
file, or another last step, computes only that. `Control.step` is called several times a second and ends the run by raising.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from llmos.data.base import ID, Comparer, Gatherer, Models, Sketches, StepContext, steps
from llmos.data.executors.base import Executor, executors
from llmos.data.inputs import Inputs, find_inputs
from llmos.data.kept import in_use
from llmos.data.ledger import lines
from llmos.data.plan import code_version, compile_plan, models_of, specs_of
from llmos.data.recipe import Recipe, Source, digest_of
from llmos.data.stages import Stage, StepSpec
from llmos.data.store import Datasets, Version
from llmos.data.tally import Tally
from llmos.data.verdicts import write_verdict
from llmos.data.work import Earlier, Growing, Part, PartTask, Piece, find_part, run_part
from llmos.data.writers.export import ExportResult, export_version
from llmos.errors import Conflict, InvalidValue
from llmos.infra.files import fsync_dir, fsync_file, make_dir, sha256_file, storage_errors, write_atomic
from llmos.library.lineage import Edge

_NOTHING: Mapping[str, Path] = {}
AUTO_PROCESSES_BYTES = 32 << 20  # of input: below, starting processes costs more than they gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a run is. parts: of the stage; done_bytes of total_bytes: of what the stage reads; rows: that it gave so far."""

    stage: int
    num_stages: int
    parts: int
    num_parts: int
    done_bytes: int
    total_bytes: int
    rows: int
    doing: str


class Control(Protocol):
    """Who runs the recipe: a job, or a person at a terminal."""

    def step(self) -> None:
        """Several times a second. May wait; raises what shall end the run."""
        ...

    def report(self, reach: Reach) -> None:
        """After every part."""
        ...


class Unattended:
    """A Control that neither stops nor tells."""

    def step(self) -> None:
        """Goes on."""

    def report(self, reach: Reach) -> None:
        """Says nothing."""


class SharesMissing(Conflict):
    """This share is computed; parts of others are not there yet."""

    code = "shares_missing"


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of one recipe. share: (i, N): of each stage this process computes every N-th part, from the i-th (from 1). models: for
    steps that need one."""

    recipe: Recipe
    datasets: Datasets
    control: Control = field(default_factory=Unattended)
    models: Models | None = None
    share: tuple[int, int] | None = None
    job_id: str = ""
    tally: Tally = field(default_factory=Tally)
    num_computed: int = 0  # parts that were not there
    exports: list[ExportResult] = field(default_factory=list)  # what was written to the sinks
    _ledgers: list[tuple[str, Path]] = field(default_factory=list)
    _problems: list[pl.DataFrame] = field(default_factory=list)  # ledger lines of what was not read, beside those of parts
    _executors: dict[str, Executor] = field(default_factory=dict)

    def execute(self) -> Version:
        """Raises what reading, steps, writing and the disk raise, and SharesMissing."""
        with in_use(self.datasets.settings, self.control.step):
            return self._execute()

    def _execute(self) -> Version:
        specs = specs_of(self.recipe, self.context)
        stages = compile_plan(self.recipe, specs)
        inputs = self.inputs(specs)
        self._not_read(inputs)
        sources: Sequence[Piece | Earlier] = inputs.pieces
        sizes = [piece.slice.size_bytes for piece in inputs.pieces]
        parts: list[Part] = []
        with ExitStack() as closing:
            known = self._known(specs, closing)
            for stage in stages:
                tasks = [self._task(stage, source, known) for source in sources]
                parts = self._stage(stage, tasks, sizes, len(stages), closing)
                verdicts = self._decide(stage, parts, closing) if stage.sketch else [None] * len(parts)
                sources = [Earlier(rows=part.rows, verdict=said) for part, said in zip(parts, verdicts, strict=True)]
                sizes = [part.size_bytes for part in parts]
        self._tell_problems()
        version = self._publish(inputs, parts, models_of(specs))
        self.exports = [export_version(version, sink) for sink in self.recipe.sinks]
        return version

    @property
    def context(self) -> StepContext:
        return StepContext(
            settings=self.datasets.settings,
            text_column=self.recipe.text_column,
            seed=self.recipe.seed,
            models=self.models,
            project=self.datasets.project,
        )

    def inputs(self, specs: Sequence[StepSpec]) -> Inputs:
        """What the recipe's sources hold. Raises NotFound, InvalidValue."""
        required = [column for spec in specs for column in spec.make(self.context).reads()]
        return self._found(required)

    def _found(self, required: Sequence[str], sources: Sequence[Source] | None = None) -> Inputs:
        mine = self.datasets
        return find_inputs(
            self.recipe, mine.settings, mine.find, find_file=mine.upload, sources=sources, required=required,
            max_url_bytes=mine.max_url_bytes,
        )  # fmt: skip

    # -- a stage -----------------------------------------------------------------------------------------------------
    def _task(self, stage: Stage, source: Piece | Earlier, known: Mapping[str, Path] = _NOTHING) -> PartTask:
        if isinstance(source, Piece):
            identity: Any = source.identity
        else:
            identity = [source.rows.parent.name, sha256_file(source.verdict) if source.verdict else ""]
        compared = [(spec.label, known[spec.label]) for spec in stage.steps if spec.label in known]
        return PartTask(
            key=digest_of([stage.key, identity, [path.stem for _, path in compared]]),
            folder=self.datasets.parts,
            stage=stage,
            source=source,
            settings=self.datasets.settings,
            text_column=self.recipe.text_column,
            seed=self.recipe.seed,
            project=self.datasets.project,
            keep_signals=self.recipe.keep_signals,
            keep_dropped=self.recipe.keep_dropped,
            known=tuple(compared),
        )

    def _stage(self, stage: Stage, tasks: list[PartTask], sizes: Sequence[int], num_stages: int, closing: ExitStack) -> list[Part]:
        found: dict[int, Part] = {}
        for place, task in enumerate(tasks):
            self.control.step()
            part = find_part(task.folder, task.key)
            if part is not None:
                found[place] = part
        left = [place for place in range(len(tasks)) if place not in found and self._mine(place)]
        doing = ", ".join(spec.name for spec in (*stage.steps, *([stage.sketch] if stage.sketch else []))) or "read"

        def tell() -> None:
            self.control.report(
                Reach(
                    stage=stage.number + 1, num_stages=num_stages, parts=len(found), num_parts=len(tasks),
                    done_bytes=sum(sizes[place] for place in found), total_bytes=sum(sizes),
                    rows=sum(part.height for part in found.values()), doing=doing,
                )
            )  # fmt: skip

        tell()
        for place, part in self._computed(stage, [tasks[place] for place in left], sum(sizes[place] for place in left), closing):
            found[left[place]] = part
            self.num_computed += 1
            tell()
        if len(found) < len(tasks):
            raise SharesMissing(
                f"This share is computed; of stage {stage.number + 1}, {len(tasks) - len(found)} of {len(tasks)} parts are not there yet.",
                hint="Run the other shares, then this command again without --part.",
            )
        for place in range(len(tasks)):
            self.tally.merge(found[place].tally)
            self._ledgers.append((f"s{stage.number}-{place:05d}", found[place].ledger))
        return [found[place] for place in range(len(tasks))]

    def _mine(self, place: int) -> bool:
        return self.share is None or place % self.share[1] == self.share[0] - 1

    def _computed(self, stage: Stage, tasks: list[PartTask], size: int, closing: ExitStack) -> Iterator[tuple[int, Part]]:
        if stage.here:
            for place, task in enumerate(tasks):
                self.control.step()
                yield place, run_part(task, self.models, self.control.step)
        elif tasks:
            yield from self._executor(len(tasks), size, closing).run(tasks, self.control.step)

    def _executor(self, num_tasks: int, size: int, closing: ExitStack) -> Executor:
        """For so many tasks; made when there is something to compute, kept for the run."""
        workers = self.recipe.workers or self.datasets.settings.num_threads or len(os.sched_getaffinity(0))
        name = self.recipe.executor
        if name == "auto":
            quick = num_tasks == 1 or workers == 1 or size < AUTO_PROCESSES_BYTES
            name = "ray" if self.datasets.settings.ray_address else "inline" if quick else "processes"
        if name not in self._executors:
            self._executors[name] = closing.enter_context(executors.get(name)(workers, self.datasets.settings))
        return self._executors[name]

    # -- deciding over all rows --------------------------------------------------------------------------------------
    def _decide(self, stage: Stage, parts: list[Part], closing: ExitStack) -> list[Path]:
        """One file of verdicts per part; found again when the same was decided before."""
        assert stage.sketch is not None
        if not parts:
            return []
        gatherer = stage.sketch.make(self.context)
        assert isinstance(gatherer, Gatherer)
        references = self._references(stage.sketch, gatherer, closing)
        key = digest_of([stage.key, [part.key for part in parts], [part.key for part in references]])
        folder = self.datasets.root / ".verdicts" / key
        files = [folder / f"{place:05d}.parquet" for place in range(len(parts))]
        if folder.is_dir():
            return files
        everything = [*parts, *references]
        partial = make_dir(folder.parent) / f".{key}.{secrets.token_hex(4)}"
        with storage_errors(folder):
            partial.mkdir()
            try:
                sketches = Sketches(
                    paths=[part.sketch for part in everything],
                    heights=[_height(part) for part in everything],
                    roles=[""] * len(parts) + ["reference"] * len(references),
                    rows=[part.rows for part in everything],
                    folder=partial,
                )
                for file, verdict in zip(files, gatherer.decide(sketches), strict=True):
                    self.control.step()
                    write_verdict(verdict, partial / file.name)
                    fsync_file(partial / file.name)
                with suppress(OSError):  # decided by another run meanwhile
                    partial.rename(folder)
                fsync_dir(folder.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return files

    def _known(self, specs: Sequence[StepSpec], closing: ExitStack) -> dict[str, Path]:
        """What each Comparer compares with, one file each, named by what is in it."""
        found = {}
        for spec in specs:
            step = spec.make(self.context)
            if isinstance(step, Comparer):
                parts = self._references(spec, step, closing)
                if not parts:
                    why = self._problems[-1].item(0, "detail") if self._problems else "it has no rows."
                    raise InvalidValue(f"{spec.label} has nothing to compare with: {why}", param="against")
                path = make_dir(self.datasets.root / ".known") / f"{digest_of([part.key for part in parts])}.parquet"
                if not path.exists():
                    frames = [pl.read_parquet(part.sketch) for part in parts]
                    whole = io.BytesIO()
                    pl.concat(frames).unique(maintain_order=True).write_parquet(whole, compression="zstd", statistics=False)
                    write_atomic(path, whole.getvalue())
                found[spec.label] = path
        return found

    def _references(self, spec: StepSpec, gatherer: Gatherer | Comparer, closing: ExitStack) -> list[Part]:
        """Sketches of the rows that are only compared with."""
        listed = gatherer.reference()
        if not listed:
            return []
        stage = Stage(
            number=-1, decided=None, steps=(), sketch=spec, here=steps.get(spec.name).needs_model,
            key=digest_of(["reference", code_version(), spec.name, steps.get(spec.name).version, spec.config, self.recipe.text_column]),
        )  # fmt: skip
        inputs = self._found(gatherer.reference_reads() if isinstance(gatherer, Comparer) else gatherer.reads(), listed)
        self._not_read(inputs, spec.label)
        tasks = [self._task(stage, piece) for piece in inputs.pieces]
        found = dict(self._computed(stage, tasks, inputs.size_bytes, closing))
        for place in range(len(tasks)):
            if num := found[place].tally["errors"]:
                self.tally.errors += num
                self._problems.append(pl.read_parquet(found[place].ledger).with_columns(pl.lit(spec.label).alias("step")))
        return [found[place] for place in range(len(tasks))]

    # -- publishing --------------------------------------------------------------------------------------------------
    def _not_read(self, inputs: Inputs, step: str = "") -> None:
        """Files that could not be read at all are lines of the ledger too; step: that compares with them."""
        if inputs.problems:
            self.tally.errors += len(inputs.problems)
            labels, why = pl.Series([label for label, _ in inputs.problems]), [one.message for _, one in inputs.problems]
            self._problems.append(lines(labels, step=step, action="error", signal="file", detail=why))

    def _tell_problems(self) -> None:
        """Into a file of their own, which is replaced and never written again: versions link to it."""
        if not self._problems:
            return
        told = pl.concat(self._problems)
        name = f"problems-{digest_of(told.select(ID, 'step', 'signal', 'detail').rows())}.parquet"
        partial = make_dir(self.datasets.parts) / f".{secrets.token_hex(4)}-{name}"
        with storage_errors(partial):
            with Growing(partial, text="row") as out:
                out.write(told)
            fsync_file(partial)
            self._ledgers.insert(0, ("files", partial.rename(self.datasets.parts / name)))

    def _publish(self, inputs: Inputs, parts: list[Part], models: list[str]) -> Version:
        data = [part.rows for part in parts if part.height] or [part.rows for part in parts[:1]]
        schema = {name: str(kind) for name, kind in pl.read_parquet_schema(data[0]).items()} if data else {}
        parents = [{"kind": one.kind, "ref": one.ref, "sha256": one.sha256, "size_bytes": one.size_bytes} for one in inputs.parents]
        manifest = {
            "identity": {"recipe": self.recipe.meaning, "parents": parents, "schema": schema, "models": models},
            "num_rows": sum(part.height for part in parts),
            "code": code_version(),
            "formats": inputs.formats,
            "labels": [*inputs.labels],
            "datasets": inputs.datasets,
            "tally": self.tally.plain(),
            "job_id": self.job_id,
        }
        name = self.recipe.name

        def edges(version: str) -> list[Edge]:
            child = f"dataset:{name}@{version}"
            made = [
                Edge(child=child, parent=f"{one.kind}:{_edge_ref(one.ref, one.sha256)}", relation="source")
                for one in inputs.parents
            ]
            made += [Edge(child=child, parent="model:" + one.replace(":", "@"), relation="model") for one in models]
            return [*made, Edge(child=child, parent=f"recipe:{self.recipe.digest}", relation="recipe")]

        return self.datasets.publish(name, manifest, data, self._ledgers, edges)


def _edge_ref(ref: str, sha256: str) -> str:
    """`name@hash` that fits the column; a long label keeps its end."""
    return ref if "@" in ref else f"{ref[-160:]}@{sha256}"


def _height(part: Part) -> int:
    import pyarrow.parquet as pq

    rows: int = pq.ParquetFile(part.sketch).metadata.num_rows
    return rows
