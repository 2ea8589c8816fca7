"""What a Gatherer decided, on its way to the rows: written per part, applied at the beginning of the next stage.

A verdict file has one line per row of its part: `_keep` copies of it go on, `_value` is what was measured, `_other` the id of the row
that is kept instead; its other columns are added to the rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmos.data.base import ID, Verdict
from llmos.data.fused import Fused

KEEP, VALUE, OTHER, SIGNAL, LIMIT = "_keep", "_value", "_other", "_signal", "_limit"


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Raises OSError as writing a file does."""
    height = len(verdict.keep)
    other = [None] * height
    frame = pl.DataFrame({KEEP: pl.Series(verdict.keep, dtype=pl.Int32), VALUE: pl.Series(verdict.value, dtype=pl.Float64)})
    if verdict.other:
        named: list[str | None] = [*other]
        for row, identity in verdict.other.items():
            named[row] = identity
        frame = frame.with_columns(pl.Series(OTHER, named, dtype=pl.String))
    else:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(OTHER))
    limit = pl.lit(verdict.threshold) if isinstance(verdict.threshold, float) else pl.Series(verdict.threshold, dtype=pl.Float64)
    frame = frame.with_columns(pl.lit(verdict.signal).alias(SIGNAL), limit.alias(LIMIT), **verdict.columns)
    frame.write_parquet(path, compression="zstd", compression_level=1, statistics=False)


def apply_verdict(frame: pl.DataFrame, verdict: pl.DataFrame, label: str, fused: Fused) -> pl.DataFrame:
    """The rows that go on: dropped ones are in the ledger, copies get ids of their own ("#12~1"), new columns are added."""
    assert frame.height == verdict.height
    tally = fused.tally.step(label)
    tally.rows_in += frame.height
    columns = [name for name in verdict.columns if name not in (KEEP, VALUE, OTHER, SIGNAL, LIMIT)]
    keep = verdict.get_column(KEEP).to_numpy()
    gone = pl.Series(keep == 0)
    if gone.any():
        signal, limits = str(verdict.item(0, SIGNAL)), verdict.get_column(LIMIT)
        of_gone = verdict.filter(gone)
        other = of_gone.get_column(OTHER).fill_null("").to_list()
        fused.drop(frame.filter(gone), label, signal, of_gone.get_column(VALUE), of_gone.get_column(LIMIT), other=other)
        tally.drop(signal, int(gone.sum()))
        limit = float(limits[0])  # of several there is none to show
        tally.rules.setdefault(signal, (None, None if np.isnan(limit) or limits.n_unique() > 1 else limit))
    if columns:
        fused.overwritten(frame, verdict.select(columns), label, tally, among=~gone)
    made = frame.with_columns(verdict.select(columns)) if columns else frame
    if (keep > 1).any():
        made = _copies(made, keep)
    elif gone.any():
        made = made.filter(~gone)
    tally.rows_out += made.height
    return made


def _copies(frame: pl.DataFrame, keep: np.ndarray[Any, Any]) -> pl.DataFrame:
    origin = np.repeat(np.arange(frame.height), keep)
    nth = np.arange(len(origin)) - np.repeat(np.cumsum(keep) - keep, keep)
    made = frame[origin]
    suffix = pl.Series(nth).cast(pl.String)
    fresh = pl.select(
        pl.when(pl.Series(nth) == 0).then(made.get_column(ID)).otherwise(made.get_column(ID) + "~" + suffix)
    ).to_series()
    return made.with_columns(fresh.alias(ID))
