"""One row sent through the steps of its recipe again, to show its texts before and after each.

    source row ──fix_unicode──> changed {"text": before, after} ──text_length──> dropped …

Only what is a function of the row alone is run: steps that decide over all rows are taken from the ledger, and the replay ends where a
model is needed or the source is not what it was. It never changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from llmos.data.base import ID, OWN_COLUMNS, Comparer, Gatherer, StepContext, steps
from llmos.data.fused import Fused
from llmos.data.inputs import find_inputs
from llmos.data.plan import specs_of
from llmos.data.readers.base import Slice
from llmos.data.recipe import Recipe
from llmos.data.shown import Plain, ancestors, ledger_of, of_row, plain_lines, plain_rows
from llmos.data.stages import StepSpec
from llmos.data.store import Datasets, Version
from llmos.data.tally import Tally
from llmos.data.work import Piece, slice_frames
from llmos.errors import LLMOSError

MAX_ROWS = 20  # made of one, that are followed


def replay(version: Version, identity: str, datasets: Datasets) -> Plain:
    """{"row": as its source has it, "steps": [{"step", "changed", "added", "lines"}], "note": why it ends early, or ""}."""
    again = _Replay(version, identity, datasets)
    try:
        again.run()
    except (LLMOSError, pl.exceptions.PolarsError, OSError) as problem:
        again.note = f"It could not be replayed any further: {problem}"
    return {"row": again.row, "steps": again.steps, "note": again.note}


class _Replay:
    def __init__(self, version: Version, identity: str, datasets: Datasets) -> None:
        self.version, self.identity, self.datasets = version, identity, datasets
        self.recipe = Recipe.model_validate(version.manifest["identity"]["recipe"])
        self.context = StepContext(
            settings=datasets.settings, text_column=self.recipe.text_column, seed=self.recipe.seed, project=datasets.project
        )
        self.row: Plain | None = None
        self.steps: list[Plain] = []
        self.note = ""

    def run(self) -> None:
        specs = specs_of(self.recipe, self.context)
        frame = self._source_row(specs)
        if frame is None:
            self.note = "The source of the row is not there any more, or has changed."
            return
        self.row = plain_rows(frame)[0]
        told = ledger_of(self.version).filter(of_row(self.identity), pl.col("action").is_in(("dropped", "changed"))).collect()
        for spec in specs:
            cls = steps.get(spec.name)
            if cls.needs_model:
                self.note = f"{spec.label} asks a model; it and what follows are not replayed."
                return
            if issubclass(cls, Gatherer | Comparer):  # not of the row alone: the ledger has it
                of_step = told.filter(pl.col("step") == spec.label)
                gone = of_step.filter(pl.col("action") == "dropped")
                frame = frame.filter(~pl.col(ID).is_in(gone.get_column(ID).implode()))
                self.steps.append({"step": spec.label, "changed": {}, "added": {}, "lines": plain_lines(of_step)})
                if gone.height < of_step.height and not frame.is_empty():
                    self.note = f"{spec.label} changed the row by what is in others; what follows is not replayed."
                    return
            else:
                frame = self._step(frame, spec)
            if frame.is_empty():
                return

    def _step(self, frame: pl.DataFrame, spec: StepSpec) -> pl.DataFrame:
        fused = Fused([(spec.label, spec.make(self.context))], None, Tally(), keep_dropped=False)
        after, _ = fused.run(frame)
        after = after.filter(of_row(self.identity)).head(MAX_ROWS)
        lines = plain_lines(pl.concat(fused.told)) if fused.told else []
        changed, added = compared(frame, after)
        self.steps.append({"step": spec.label, "changed": changed, "added": added, "lines": lines})
        return after

    def _source_row(self, specs: Sequence[StepSpec]) -> pl.DataFrame | None:
        """A frame of one row as the first step saw it, None when it is not to be had."""
        required = [column for spec in specs for column in spec.make(self.context).reads()]
        mine = self.datasets
        inputs = find_inputs(
            self.recipe, mine.settings, mine.find, find_file=mine.upload, required=required, max_url_bytes=mine.max_url_bytes
        )
        then = {(one["kind"], one["ref"], one["sha256"]) for one in self.version.manifest["identity"]["parents"]}
        same = {one.ref for one in inputs.parents if (one.kind, one.ref, one.sha256) in then}
        wanted = [self.identity, *ancestors(self.identity)]
        for piece in inputs.pieces:
            for cut in (piece.slice, *piece.slice.more):
                if not _may_have(piece, cut, wanted[-1], same):
                    continue
                for frame in slice_frames(cut, piece, Fused([], None, Tally())):
                    found = frame.filter(pl.col(ID).is_in(wanted))
                    if found.height:
                        return found.head(1)
        return None


def compared(before: pl.DataFrame, after: pl.DataFrame) -> tuple[Plain, Plain]:
    """({column: {"before", "after"}} of the first row that both have, {column: value} of columns that are new)."""
    old, new = plain_rows(before.head(1)), plain_rows(after.head(1))
    if not old or not new:
        return {}, {}
    first, second = old[0], new[0]
    same = first[ID] == second[ID]
    changed = {
        name: {"before": first[name], "after": value}
        for name, value in second.items()
        if name in first and name not in OWN_COLUMNS and first[name] != value
    }
    added = {name: value for name, value in second.items() if name not in first}
    return (changed, added) if same else ({}, {name: value for name, value in second.items() if name not in OWN_COLUMNS})


def _may_have(piece: Piece, cut: Slice, root: str, same: set[str]) -> bool:
    """Rows of a dataset version keep the ids they have, so any of its parts may; of files, the one that the id names."""
    if ID in piece.schema.names:
        return True
    label, _, number = root.rpartition("#")
    if piece.prefix + cut.file.label != label or cut.file.label not in same:
        return False
    return number.isdecimal() and cut.first_row <= int(number)
