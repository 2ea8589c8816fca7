"""Duplicates in meaning: texts that say the same in other words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import ID, Gatherer, Rows, Sketches, Verdict, step
from llmos.data.recipe import Source
from llmos.data.synth.base import ModelConfig, ModelStep, Vectors
from llmos.data.synth.nearest import buckets_of, thin


@step("semantic_dedup")
class SemanticDedup(ModelStep, Gatherer):
    """Of rows whose vectors have a cosine of at least `threshold` one is kept (SemDeDup, Abbas et al. 2023, who keep 1 - epsilon; their
    epsilons depend on the model, so look at some pairs first). Up to `exact_rows` rows are all compared with all, exactly; above, only
    within k-means buckets of about 4,096 rows, as there: pairs that a border of buckets parts are missed. A row is compared with the kept
    ones alone, so that a chain of likenesses drops nothing that is unlike what is kept. Memory: 4 bytes a dimension and row
    (1.5 GB for a million rows of 384)."""

    class Config(ModelConfig):
        threshold: float = Field(0.95, gt=0, le=1, description="From this cosine on two texts say the same.")
        keep: Literal["first", "longest"] = Field("first", description="Which of them stays.")
        against: tuple[str, ...] = Field((), description="Dataset versions: rows like one of theirs go, whatever `keep` says.")
        exact_rows: int = Field(100_000, ge=0, description="Above, rows are compared within buckets only.")

    config: Config

    def reference(self) -> Sequence[Source]:
        return [Source(dataset=name) for name in self.config.against]

    def sketch(self, rows: Rows) -> pl.DataFrame:
        text, ids = rows.text(self.column), rows.frame.get_column(ID)
        found = self.vectors(text.to_list(), ids.to_list())
        vector = pl.Series(found, dtype=pl.Array(pl.Float32, found.shape[1]))
        return pl.DataFrame({"id": ids, "vector": vector, "chars": text.str.len_chars()})

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        vectors = np.concatenate(
            [_matrix(one) for one in sketches.column("vector") if len(one)] or [np.zeros((0, 1), dtype=np.float32)]
        )
        role = np.repeat([bool(role) for role in sketches.roles], sketches.heights)
        chars = np.concatenate([one.to_numpy() for one in sketches.column("chars")])
        longest = -chars.astype(np.int64) if self.config.keep == "longest" else np.zeros(len(chars), dtype=np.int64)
        order = np.lexsort((np.arange(len(chars)), np.where(role, 0, longest), ~role))  # references first, they always stay
        best, nearest = self._compared(vectors, order, int(role.sum()))
        ids = pl.concat(list(sketches.column("id"))) if len(chars) else pl.Series([], dtype=pl.String)
        for part, (start, height) in enumerate(zip(sketches.starts, sketches.heights, strict=True)):
            if sketches.roles[part]:
                continue
            here = slice(start, start + height)
            gone = best[here] >= self.config.threshold
            other = {int(place): ids[int(nearest[start + place])] for place in np.flatnonzero(gone)}
            yield Verdict(
                keep=(~gone).astype(np.int32),
                signal="cosine",
                value=best[here].astype(np.float64),
                threshold=self.config.threshold,
                other=other,
            )

    def _compared(self, vectors: Vectors, order: np.ndarray[Any, Any], num_staying: int) -> tuple[Vectors, np.ndarray[Any, Any]]:
        """For each row the highest cosine with a kept row before it in `order`, and that row."""
        best, nearest = np.full(len(vectors), -1.0, dtype=np.float32), np.zeros(len(vectors), dtype=np.int64)
        if len(vectors) <= self.config.exact_rows:
            groups = [order]
        else:
            bucket = buckets_of(vectors, self.context.seed)[order]
            groups = [order[bucket == number] for number in range(int(bucket.max()) + 1)]
        staying = np.zeros(len(vectors), dtype=bool)
        staying[order[:num_staying]] = True
        for group in groups:
            best[group], nearest[group] = thin(vectors, group, staying, self.config.threshold)
        return best, nearest


def _matrix(column: pl.Series) -> Vectors:
    found: Vectors = column.to_numpy()
    return found
