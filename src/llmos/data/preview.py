"""A dry run: what a recipe would read, do and cost, from its sources and one batch of their rows. Nothing is written but into a folder that
goes again.

    plan       sources with formats, columns and bytes; the stages and their steps
    estimate   rows, seconds and output bytes, measured on the first batch and multiplied
    steps      for each step, some rows of that batch: those it dropped, those it changed, the first that went on

A step that decides over all rows decides over the batch alone here, so of duplicates it finds fewer than the run will.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmos.data.base import ID, Comparer, Gatherer, Rows, Sketches, StepContext, steps
from llmos.data.fused import Fused
from llmos.data.inputs import Inputs
from llmos.data.plan import compile_plan, specs_of
from llmos.data.recipe import Recipe
from llmos.data.replay import compared
from llmos.data.run import Run
from llmos.data.shown import Plain, brief, plain_lines, plain_rows
from llmos.data.stages import Stage, StepSpec
from llmos.data.tally import Tally
from llmos.data.verdicts import apply_verdict, write_verdict
from llmos.data.work import piece_frames

SHOWN_ROWS = 3
SHOWN_CHARS = 300
SHOWN_ERRORS = 10
STEP_ROWS = 1000  # of the batch, that are followed from step to step
MODEL_ROWS = 2  # of them, that models are asked about


@dataclass(slots=True)
class _Measured:
    """Of the batch that was run whole. input_bytes: of the files it came from. errors: rows before it that could not be read."""

    rows: int = 0
    input_bytes: int = 0
    seconds: float = 0.0
    kept: int = 0
    output_bytes: int = 0
    errors: list[Plain] = field(default_factory=list)


def preview(run: Run) -> Plain:
    """Of a run that is not executed. Raises what its recipe and sources raise."""
    specs = specs_of(run.recipe, run.context)
    stages = compile_plan(run.recipe, specs)
    inputs = run.inputs(specs)
    frame, measured = _first(inputs)
    told: list[Plain] = []
    if frame is not None:
        told = _Shown(run.context).steps(frame.head(STEP_ROWS), specs)
        if not any(steps.get(spec.name).needs_model for spec in specs):
            _measure(frame, stages, run, measured)
    return {
        "name": run.recipe.name,
        "notices": list(run.recipe.notices),
        "sources": _sources(run.recipe, inputs),
        "columns": {name: str(kind) for name, kind in inputs.columns.items()},
        "problems": [{"file": label, "message": one.message} for label, one in inputs.problems],
        "stages": [_stage(stage) for stage in stages],
        "estimate": _estimate(inputs, measured),
        "first": [] if frame is None else [brief(row, SHOWN_CHARS) for row in plain_rows(frame.head(SHOWN_ROWS))],
        "read_errors": measured.errors[:SHOWN_ERRORS],
        "steps": told,
    }


# -- what is known without computing -----------------------------------------------------------------------------------
def _sources(recipe: Recipe, inputs: Inputs) -> list[Plain]:
    found = []
    for parent in inputs.parents:
        facts = {"kind": parent.kind, "ref": parent.ref, "bytes": parent.size_bytes, "sha256": parent.sha256}
        found.append(facts | {"format": inputs.formats.get(parent.ref, "")})
    return found


def _stage(stage: Stage) -> Plain:
    ends = stage.sketch
    return {
        "stage": stage.number + 1,
        "steps": [{"step": spec.label, "params": spec.config} for spec in stage.steps],
        "decides": {"step": ends.label, "params": ends.config} if ends else None,
        "here": stage.here,
    }


def _first(inputs: Inputs) -> tuple[pl.DataFrame | None, _Measured]:
    """The first rows, about a batch of them, and what of the input they are."""
    measured = _Measured()
    for piece in inputs.pieces:
        began = time.perf_counter()
        reading = Fused([], None, Tally())
        frames, size, whole = [], 0, True
        for frame in piece_frames(piece, reading):
            if size >= piece.options.batch_bytes:
                whole = False
                break
            frames.append(frame)
            size += int(frame.estimated_size())
        measured.errors += [brief(line, SHOWN_CHARS) for told in reading.told for line in plain_lines(told)][:SHOWN_ERRORS]
        if size:
            frame = pl.concat(frames, rechunk=True)
            measured.seconds = time.perf_counter() - began
            measured.rows = frame.height
            measured.input_bytes = piece.slice.size_bytes if whole else max(1, min(size, piece.slice.size_bytes))
            return frame, measured
    return None, measured


# -- measuring -----------------------------------------------------------------------------------------------------------
def _measure(frame: pl.DataFrame, stages: Sequence[Stage], run: Run, measured: _Measured) -> None:
    """All stages over the batch, as a part would be computed."""
    tally = Tally()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="llmos-preview-") as folder:
        for stage in stages:
            fused = Fused([(spec.label, spec.make(run.context)) for spec in stage.steps if not _compares(spec)], None, tally)
            frame, _ = fused.run(frame)
            if stage.sketch is not None:
                frame = _decided(frame, stage.sketch, run.context, fused, Path(folder))
        out = Path(folder) / "out.parquet"
        frame.write_parquet(out, compression="zstd", compression_level=1)
        measured.output_bytes = out.stat().st_size
    measured.seconds += time.perf_counter() - began
    measured.kept = frame.height


def _decided(rows: pl.DataFrame, spec: StepSpec, context: StepContext, fused: Fused, folder: Path) -> pl.DataFrame:
    """The rows that go on after a decision over these alone."""
    gatherer = spec.make(context)
    assert isinstance(gatherer, Gatherer)
    places = {name: folder / f"{spec.place}-{name}.parquet" for name in ("sketch", "rows", "verdict")}
    gatherer.sketch(Rows(rows)).write_parquet(places["sketch"])
    rows.write_parquet(places["rows"])
    whole = Sketches(paths=[places["sketch"]], heights=[rows.height], roles=[""], rows=[places["rows"]], folder=folder)
    (verdict,) = gatherer.decide(whole)
    write_verdict(verdict, places["verdict"])
    return fused.after(spec.label, gatherer, apply_verdict(rows, pl.read_parquet(places["verdict"]), spec.label, fused))


def _estimate(inputs: Inputs, measured: _Measured) -> Plain:
    """seconds: of one core, None where it was not measured (a step asks a model). From the share of the input that was run."""
    total = inputs.size_bytes
    times = total / measured.input_bytes if measured.input_bytes else 0.0
    timed = measured.output_bytes > 0
    return {
        "input_bytes": total,
        "rows": round(measured.rows * times),
        "kept_rows": round(measured.kept * times) if timed else None,
        "seconds": round(measured.seconds * times, 1) if timed else None,
        "output_bytes": round(measured.output_bytes * times) if timed else None,
        "measured_rows": measured.rows,
        "measured_bytes": measured.input_bytes,
    }


# -- showing -------------------------------------------------------------------------------------------------------------
class _Shown:
    """Steps one at a time over some rows, with examples of what each did."""

    def __init__(self, context: StepContext) -> None:
        self.context = context

    def steps(self, frame: pl.DataFrame, specs: Sequence[StepSpec]) -> list[Plain]:
        found: list[Plain] = []
        with tempfile.TemporaryDirectory(prefix="llmos-preview-") as folder:
            for spec in specs:
                model = steps.get(spec.name).needs_model
                if model and self.context.models is None:
                    found.append(_told(spec, frame, frame, [], "It asks a model; it and what follows are not shown."))
                    break
                if _compares(spec):
                    found.append(_told(spec, frame, frame, [], "It compares with other rows, which a dry run does not read."))
                    continue
                before = frame.head(MODEL_ROWS) if model else frame
                frame, lines = self._one(before, spec, Path(folder))
                found.append(_told(spec, before, frame, lines, f"Shown on {before.height} rows." if model else ""))
        return found

    def _one(self, frame: pl.DataFrame, spec: StepSpec, folder: Path) -> tuple[pl.DataFrame, list[Plain]]:
        if issubclass(steps.get(spec.name), Gatherer):
            fused = Fused([], None, Tally())
            after = _decided(frame, spec, self.context, fused, folder)
        else:
            fused = Fused([(spec.label, spec.make(self.context))], None, Tally())
            after, _ = fused.run(frame)
        return after, plain_lines(pl.concat(fused.told)) if fused.told else []


def _compares(spec: StepSpec) -> bool:
    return issubclass(steps.get(spec.name), Comparer)


def _told(spec: StepSpec, before: pl.DataFrame, after: pl.DataFrame, lines: list[Plain], note: str) -> Plain:
    dropped = [line for line in lines if line["action"] == "dropped"]
    changed = [line for line in lines if line["action"] == "changed"]
    return {
        "step": spec.label,
        "params": spec.config,
        "rows_in": before.height,
        "rows_out": after.height,
        "num_dropped": len(dropped),
        "num_changed": len(changed),
        "dropped": [brief(line, SHOWN_CHARS) for line in dropped[:SHOWN_ROWS]],
        "changed": _changes(before, after, [line[ID] for line in changed[:SHOWN_ROWS]]),
        "added": [name for name in after.columns if name not in before.columns],
        "rows": [brief(row, SHOWN_CHARS) for row in plain_rows(after.head(SHOWN_ROWS))],
        "note": note,
    }


def _changes(before: pl.DataFrame, after: pl.DataFrame, ids: Sequence[str]) -> list[Plain]:
    """What the step made of these rows, around the first difference."""
    found = []
    for one in ids:
        changed, _ = compared(before.filter(pl.col(ID) == one), after.filter(pl.col(ID) == one))
        found.append({ID: one, "columns": {name: around(*pair.values()) for name, pair in changed.items()}})
    return found


def around(before: Any, after: Any, max_chars: int = SHOWN_CHARS) -> Plain:
    """Both values; of long texts the part around their first difference."""
    if not isinstance(before, str) or not isinstance(after, str) or max(len(before), len(after)) <= max_chars:
        return {"before": brief(before, max_chars), "after": brief(after, max_chars)}
    length = min(len(before), len(after))
    unlike = np.fromiter((one != other for one, other in zip(before, after, strict=False)), dtype=bool, count=length)
    start = max(0, (int(unlike.argmax()) if unlike.any() else length) - max_chars // 4)
    lead = "… " if start else ""
    return {"before": lead + brief(before[start:], max_chars), "after": lead + brief(after[start:], max_chars)}
