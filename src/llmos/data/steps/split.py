"""Training, validation and test: which rows belong to which, so that nothing of one leaks into another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from llmos.data.base import ID, Gatherer, Rows, Sketches, TextConfig, Verdict, step
from llmos.data.clusters import Clusters, pairs
from llmos.data.dedup import whole
from llmos.data.drawing import draws
from llmos.data.grouping import group_codes, groups_of
from llmos.data.steps.minhash_dedup import signatures_of
from llmos.data.words import folded, mixed, pieces_of

_BANDS, _ROWS, _NGRAM = 14, 8, 5  # as minhash_dedup


@step("split")
class Split(Gatherer):
    """Adds a column `split`. Rows with the same text always go to the same side, and with `near` also those that minhash_dedup would take
    for duplicates; with `group`, all rows with the same value there. stratify: every value of that column is divided in the same
    proportions. Sets of rows are drawn whole, so that shares are met as nearly as their sizes allow."""

    class Config(TextConfig):
        shares: dict[str, float] = Field(
            {"train": 0.9, "validation": 0.05, "test": 0.05}, description="Share of rows of each side."
        )
        stratify: str = ""
        group: str = ""
        near: bool = Field(False, description="Near-duplicates stay together too.")
        into: str = Field("split", description="Name of the new column.")

        @field_validator("shares")
        @classmethod
        def _whole(cls, given: dict[str, float]) -> dict[str, float]:
            if not given or min(given.values()) < 0 or abs(sum(given.values()) - 1) > 1e-6:
                raise ValueError(f"shares must be 0 or more and add up to 1; these add up to {sum(given.values()):g}")
            return given

    config: Config

    def sketch(self, rows: Rows) -> pl.DataFrame:
        c, text = self.config, rows.text(self.column)
        found: dict[str, Any] = {
            "draw": draws(rows.frame.get_column(ID), self.context.seed, self.name),
            "text": mixed(text.hash(0).to_numpy()),
            "empty": (text.str.len_bytes() == 0).to_numpy(),
        }
        for name, param in (("stratum", "stratify"), ("group", "group")):
            if column := getattr(c, param):
                found[name] = groups_of(rows, column, param)
        if c.near:
            signatures, _ = signatures_of(folded(rows.derived(pieces_of, self.column)).hashed, _NGRAM, _BANDS * _ROWS)
            for number in range(_BANDS):
                band = signatures[:, number * _ROWS : (number + 1) * _ROWS].astype(np.uint64)
                found[f"band{number}"] = mixed(
                    (band * np.uint64(0x9E3779B97F4A7C15) ** np.arange(_ROWS, dtype=np.uint64)).sum(axis=1)
                )
        return pl.DataFrame(found)

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        c = self.config
        draw, empty = whole(sketches, "draw", np.uint64), whole(sketches, "empty", bool)
        together = Clusters(len(draw))
        for name in ["text", *([f"band{number}" for number in range(_BANDS)] if c.near else [])]:
            together.join(*pairs(whole(sketches, name, np.uint64), empty))
        if c.group:
            together.join(*pairs(group_codes(sketches, "group").astype(np.uint64), np.zeros(len(draw), dtype=bool)))
        stratum = group_codes(sketches, "stratum") if c.stratify else np.zeros(len(draw), dtype=np.int64)
        side = divided(together.root, draw, stratum, np.array([*c.shares.values()]))
        names = pl.Series([*c.shares])
        for start, height in zip(sketches.starts, sketches.heights, strict=True):
            here = slice(start, start + height)
            yield Verdict(
                keep=np.ones(height, dtype=np.int32), signal="", value=np.zeros(height), threshold=float("nan"),
                columns={c.into: names.gather(side[here])},
            )  # fmt: skip


def divided(root: Any, draw: Any, stratum: Any, shares: Any) -> Any:
    """int64 per row: its side. Sets (rows of one root) go, in the order of their root's draw, each to the side that is furthest behind its
    share in the set's stratum (that of its root)."""
    sets, sizes = np.unique(root, return_counts=True)
    order = np.argsort(draw[sets], kind="stable")
    strata = stratum[sets]
    total = np.bincount(stratum, minlength=int(stratum.max(initial=-1)) + 1)
    got = np.zeros((len(total), len(shares)))
    chosen = np.empty(len(root), dtype=np.int64)
    for place in order.tolist():
        of = strata[place]
        behind = shares * total[of] - got[of]
        side = int(np.argmax(behind))
        got[of, side] += sizes[place]
        chosen[sets[place]] = side
    return chosen[root]
