"""Mixing sources: how much of each goes on, by budget and weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import ID, Gatherer, Rows, Sketches, TextConfig, Verdict, step
from llmos.data.dedup import whole
from llmos.data.drawing import draws
from llmos.data.grouping import group_codes, group_values, groups_of
from llmos.data.steps.fields import field_of
from llmos.errors import InvalidValue


@step("mix")
class Mix(Gatherer):
    """Draws from each value of `by` until its part of the budget is reached. weights: the parts; without them a source of size n gets a
    part proportional to n^(1/temperature) (Devlin et al. 2019; 1 is as it is, larger is more even). A source that is too small is
    repeated up to `max_repeats` times; one that still is too small is an error, unless `short` is `keep`."""

    class Config(TextConfig):
        by: str = Field("source", description="Column that tells sources apart (`tag` of a source makes it).")
        unit: Literal["rows", "chars", "column"] = Field("chars", description="What the budget counts.")
        size: str = Field("", description="Column of sizes for unit: column, such as num_tokens.")
        budget: float | None = Field(None, gt=0, description="In that unit; not set: the size of everything.")
        weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
        temperature: float = Field(1.0, gt=0)
        max_repeats: float = Field(1.0, ge=0, description="Times that a row may be there, on average of its source.")
        short: Literal["error", "keep"] = Field("error", description="What happens when a source cannot give its part.")

    config: Config

    def sketch(self, rows: Rows) -> pl.DataFrame:
        c = self.config
        if c.unit == "rows":
            size: Any = np.ones(len(rows))
        elif c.unit == "chars":
            size = rows.text(self.column).str.len_chars().cast(pl.Float64)
        else:
            size = field_of(rows, c.size, one="size").cast(pl.Float64, strict=False)
            if size.null_count() or not (size >= 0).all():
                raise InvalidValue(f"Not every row has a size of 0 or more in the column {c.size!r}.", param="size")
        draw = draws(rows.frame.get_column(ID), self.context.seed, self.name)
        return pl.DataFrame({"draw": draw, "size": size, "group": groups_of(rows, c.by, "by")})

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        draw, size, group = whole(sketches, "draw", np.uint64), whole(sketches, "size", np.float64), group_codes(sketches, "group")
        names = group_values(sketches, "group")
        there = np.bincount(group, weights=size, minlength=len(names))
        wanted = self._wanted([str(name) for name in names], there)
        copies = np.zeros(len(draw), dtype=np.int32)
        for number in range(len(names)):
            rows = np.flatnonzero(group == number)
            rows = rows[np.argsort(draw[rows], kind="stable")]
            whole_times = int(wanted[number] // there[number]) if there[number] else 0
            left = wanted[number] - whole_times * there[number]
            before = np.concatenate([[0.0], np.cumsum(size[rows])[:-1]]) if len(rows) else np.zeros(0)
            copies[rows] = whole_times + (before + size[rows] / 2 <= left)  # the row across the border goes to its nearer side
        for start, height in zip(sketches.starts, sketches.heights, strict=True):
            here = slice(start, start + height)
            yield Verdict(keep=copies[here], signal="budget", value=size[here], threshold=float("nan"))

    def _wanted(self, names: list[str], there: Any) -> Any:
        """How much of each source goes on, in the unit. Raises InvalidValue for weights that do not fit the sources."""
        c = self.config
        if c.weights is not None:
            unknown, missing = sorted(set(c.weights) - set(names)), sorted(set(names) - set(c.weights))
            if unknown or missing:
                said = "; ".join(
                    f"{what}: {', '.join(found)}"
                    for what, found in (("not in the data", unknown), ("without a weight", missing))
                    if found
                )
                raise InvalidValue(f"The weights do not fit the values of {c.by!r}: {said}.", param="weights")
            weight = np.array([c.weights[name] for name in names])
        else:
            weight = there ** (1 / c.temperature)
        budget = c.budget if c.budget is not None else float(there.sum())
        wanted = budget * weight / max(float(weight.sum()), 1e-300)
        most = there * c.max_repeats
        short = [
            f"{name} has {one:,.0f} of {asked:,.0f}"
            for name, one, asked in zip(names, there, wanted, strict=True)
            if asked > one * c.max_repeats * (1 + 1e-9)
        ]
        if short and c.short == "error":
            raise InvalidValue(
                f"Sources are too small for their part of the budget, at {c.max_repeats:g} repeats: {'; '.join(short)}.",
                param="budget",
                hint="Allow more max_repeats, a smaller budget, or short: keep.",
            )
        return np.minimum(wanted, most)
