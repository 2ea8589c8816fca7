"""The ledger: one line for every row that a recipe dropped, changed, made or could not read, with the step and what it measured.

    _id       of the row                                action     dropped | changed | expanded | grouped | refused | error
    step      "2:gopher_quality", "" for reading        signal     what was measured ("stop_words", "chars", …)
    value     what it was                               threshold  the limit it broke, NaN when there is none
    other     id of the row kept instead of it, or ""   detail     the reason in words, where there are some
    row       the row as it was when it was dropped, JSON, or null (`keep_dropped: false`)

A copy of a row (`mix`) has no line, only an id that says so: "#12~1". The ledger is written beside the rows by whoever computes a part, and
belongs to the version that comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from llmos.data.base import ID

Action = Literal[
    "dropped", "changed", "expanded", "grouped", "refused", "error"
]  # refused: what a step made of the row was not taken
SCHEMA = pl.Schema(
    {
        ID: pl.String,
        "step": pl.String,
        "action": pl.String,
        "signal": pl.String,
        "value": pl.Float64,
        "threshold": pl.Float64,
        "other": pl.String,
        "detail": pl.String,
        "row": pl.String,
    }
)


def lines(
    ids: pl.Series,
    *,
    step: str | pl.Series,
    action: Action,
    signal: str | pl.Series = "",
    value: Any = None,
    threshold: Any = None,
    other: Sequence[str] | str = "",
    detail: Sequence[str] | str = "",
    rows: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Ledger lines for these ids; scalars are the same for all. rows: the frame of the same height whose rows are kept as JSON."""
    height = len(ids)

    def column(given: Any, kind: Any) -> Any:
        if given is None:
            given = float("nan")
        if isinstance(given, pl.Series | np.ndarray | list | tuple):
            return pl.Series(given).cast(kind)
        return pl.Series([given], dtype=kind).new_from_index(0, height)

    kept = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series() if rows is not None else column("", pl.String)
    found = {
        ID: ids,
        "step": column(step, pl.String),
        "action": column(action, pl.String),
        "signal": column(signal, pl.String),
        "value": column(value, pl.Float64),
        "threshold": column(threshold, pl.Float64),
        "other": column(other, pl.String),
        "detail": column(detail, pl.String),
        "row": kept if rows is not None else pl.Series([None] * height, dtype=pl.String),
    }
    return pl.DataFrame(found, schema=SCHEMA)


def empty() -> pl.DataFrame:
    return pl.DataFrame(schema=SCHEMA)
