"""A random sample of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from llmos.data.base import ID, Gatherer, Rows, Sketches, StepConfig, Verdict, step
from llmos.data.dedup import whole
from llmos.data.drawing import draws
from llmos.data.grouping import group_codes, groups_of


@step("sample")
class Sample(Gatherer):
    """Keeps exactly `rows` rows, or the share `fraction` of them (rounded up), drawn at random: always the same ones for the same rows and
    seed, and a larger sample contains a smaller one. by: drawn from each value of that column alone (stratified)."""

    class Config(StepConfig):
        rows: int | None = Field(None, ge=0, description="How many, of each value of `by`.")
        fraction: float | None = Field(None, ge=0, le=1)
        by: str = Field("", description="Column whose values are sampled each on its own.")

        @model_validator(mode="after")
        def _one(self) -> Sample.Config:
            if (self.rows is None) == (self.fraction is None):
                raise ValueError("give either rows or fraction")
            return self

    config: Config

    def sketch(self, rows: Rows) -> pl.DataFrame:
        found: dict[str, Any] = {"draw": draws(rows.frame.get_column(ID), self.context.seed, self.name)}
        if self.config.by:
            found["group"] = groups_of(rows, self.config.by, "by")
        return pl.DataFrame(found)

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        draw = whole(sketches, "draw", np.uint64)
        group = group_codes(sketches, "group") if self.config.by else np.zeros(len(draw), dtype=np.int64)
        order = np.lexsort((draw, group))
        sizes = np.bincount(group)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rank = np.empty(len(draw), dtype=np.int64)
        rank[order] = np.arange(len(draw)) - starts[group[order]]
        wanted = (
            np.full(len(sizes), self.config.rows) if self.config.rows is not None else np.ceil(sizes * (self.config.fraction or 0))
        )
        keep = (rank < wanted[group]).astype(np.int32) if len(draw) else np.zeros(0, dtype=np.int32)
        for part, (start, height) in enumerate(zip(sketches.starts, sketches.heights, strict=True)):
            here = slice(start, start + height)
            assert not sketches.roles[part]
            limit = wanted[group[here]].astype(np.float64) if len(sizes) > 1 else float(max(wanted, default=0))
            yield Verdict(keep=keep[here], signal="rank", value=rank[here].astype(np.float64), threshold=limit)
