"""Values of a text column over all parts as small numbers, for decisions by group."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from llmos.data.base import Rows, Sketches
from llmos.errors import InvalidValue

Codes = np.ndarray[Any, np.dtype[np.int64]]


def groups_of(rows: Rows, name: str, param: str) -> pl.Series:
    """The column as text. Raises InvalidValue for one of lists, which name no group."""
    column = rows.column(name)
    if isinstance(column.dtype, pl.List | pl.Array):
        raise InvalidValue(f"The column {name!r} holds {column.dtype}; a group is one value.", param=param)
    return column.cast(pl.String)


def group_values(sketches: Sketches, name: str) -> list[str | None]:
    """The distinct values in the order they are first seen."""
    seen: dict[str | None, None] = {}
    for column in sketches.column(name):
        seen.update(dict.fromkeys(column.unique(maintain_order=True).to_list()))
    return list(seen)


def group_codes(sketches: Sketches, name: str) -> Codes:
    """int64 per row: the place of its value among `group_values`."""
    values = group_values(sketches, name)
    table = pl.DataFrame({"value": pl.Series(values, dtype=pl.String), "code": np.arange(len(values))})
    found = [
        column.to_frame("value")
        .join(table, on="value", how="left", nulls_equal=True, maintain_order="left")
        .get_column("code")
        .to_numpy()
        for column in sketches.column(name)
    ]
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, dtype=np.int64)
