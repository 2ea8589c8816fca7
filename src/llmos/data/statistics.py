"""What is in a dataset version, column by column: lengths, ranges, classes, repeats.

    statistics(datasets.get("mails")).plain()

The rows are read once, a row group at a time, and never held: counts, sums and extremes are exact, different values and quantiles
are exact up to 65,536 and estimated beyond (bottom_k.py), which `exact` tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from llmos.data.base import ID, OWN_COLUMNS
from llmos.data.bottom_k import Distinct, Floats, Hashes, Sampled, mixed
from llmos.data.store import Version

MAX_VALUES = 1000  # different ones; a column with more has no list of values
MAX_VALUE_CHARS = 100  # nor has one with a longer one
SHOWN_VALUES = 50
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_WORD = r"\p{Han}|[^\s\p{Han}]+"  # what stands between white space; each Chinese character


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """rows: that have one. quantiles: "0.5" is the median. nan: rows with "not a number" or infinity, which count nowhere else."""

    rows: int
    min: float
    max: float
    mean: float
    total: float
    nan: int
    quantiles: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCount:
    """share: of the rows that have a value; of a list of values, of all its items."""

    value: Any
    rows: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStatistics:
    """distinct: different values, repeated: rows whose value an earlier row has; None for lists and objects. exact: whether both are.
    numbers: of a column of numbers; chars and words: lengths of texts; items: of lists. values: the most frequent ones where there are
    at most 1,000, of num_values; evenness: of all of them, 1 is balanced (entropy / log of their number; Pielou 1966)."""

    name: str
    type: str
    nulls: int
    distinct: int | None = None
    repeated: int | None = None
    exact: bool = True
    numbers: Numbers | None = None
    chars: Numbers | None = None
    words: Numbers | None = None
    items: Numbers | None = None
    values: list[ValueCount] | None = None
    num_values: int | None = None
    evenness: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """exact: whether quantiles are of all rows."""

    dataset: str
    rows: int
    bytes: int
    exact: bool
    columns: list[ColumnStatistics] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON, without what a column does not have."""
        found = asdict(self)
        found["columns"] = [{name: value for name, value in one.items() if value is not None} for one in found["columns"]]
        return found


def statistics(version: Version) -> Statistics:
    """Reads all rows of it once."""
    sampled = Sampled()
    columns: dict[str, _Column] = {}
    for frame in _frames(version):
        values: dict[str, Floats] = {}
        for name in frame.columns:
            if name not in OWN_COLUMNS:
                values |= columns.setdefault(name, _Column(name, frame.schema[name])).add(frame.get_column(name))
        sampled.add(_hashes(frame.get_column(ID)), values)
    return Statistics(
        dataset=version.ref,
        rows=version.num_rows,
        bytes=version.size_bytes,
        exact=sampled.exact,
        columns=[one.result(sampled) for one in columns.values()],
    )


def _frames(version: Version) -> Iterator[pl.DataFrame]:
    import pyarrow.parquet as pq

    for path in version.files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                frame: Any = pl.from_arrow(file.read_row_group(group))
                yield frame


def _hashes(column: pl.Series) -> Hashes:
    return mixed(column.hash(seed=0).to_numpy())


class _Sums:
    def __init__(self) -> None:
        self.rows, self.nan, self.total = 0, 0, 0.0
        self.least, self.most = math.inf, -math.inf

    def add(self, values: Floats, nulls: int) -> None:
        there = values[~np.isnan(values)]
        self.rows += len(there)
        self.nan += len(values) - len(there) - nulls
        if len(there):
            self.total += float(there.sum())
            self.least, self.most = min(self.least, float(there.min())), max(self.most, float(there.max()))

    def result(self, quantiles: list[float]) -> Numbers | None:
        if not self.rows:
            return None
        named = {f"{at:g}": value for at, value in zip(QUANTILES, quantiles, strict=True)} if quantiles else {}
        mean = self.total / self.rows
        return Numbers(rows=self.rows, min=self.least, max=self.most, mean=mean, total=self.total, nan=self.nan, quantiles=named)


class _Column:
    """What is kept of one column while rows pass."""

    def __init__(self, name: str, kind: pl.DataType) -> None:
        self.name, self.kind = name, kind
        self.nulls = 0
        self.sums: dict[str, _Sums] = {}
        self.distinct = None if kind.is_nested() or kind == pl.Null else Distinct()
        inner = kind.inner if isinstance(kind, pl.List) else kind
        counts = inner in (pl.String, pl.Boolean) or (isinstance(inner, pl.DataType) and inner.is_integer())
        self.counted: Counter[Any] | None = Counter() if counts else None

    def add(self, column: pl.Series) -> dict[str, Floats]:
        """Its numbers, a row each, under names of their own."""
        nulls = column.null_count()
        self.nulls += nulls
        if self.distinct is not None:
            self.distinct.add(_hashes(column.drop_nulls()))
        made = self._measured(column)
        for measure, values in made.items():
            self.sums.setdefault(measure, _Sums()).add(values, nulls)
        if self.counted is not None:
            self._count(column)
        return {f"{measure} {self.name}": values for measure, values in made.items()}

    def _measured(self, column: pl.Series) -> dict[str, Floats]:
        if self.kind == pl.String:
            return {"chars": _floats(column.str.len_chars()), "words": _floats(column.str.count_matches(_WORD))}
        if isinstance(self.kind, pl.List):
            return {"items": _floats(column.list.len())}
        return {"numbers": _floats(column)} if self.kind.is_numeric() else {}

    def _count(self, column: pl.Series) -> None:
        assert self.counted is not None
        there = (column.explode() if isinstance(self.kind, pl.List) else column).drop_nulls()
        longest = there.str.len_chars().max() if there.dtype == pl.String else 0
        if isinstance(longest, int) and longest > MAX_VALUE_CHARS:
            self.counted = None
            return
        for value, count in there.value_counts().iter_rows():
            self.counted[value] += count
            if len(self.counted) > MAX_VALUES:
                self.counted = None
                return

    def result(self, sampled: Sampled) -> ColumnStatistics:
        numbers = {
            measure: sums.result(sampled.quantiles(f"{measure} {self.name}", QUANTILES)) for measure, sums in self.sums.items()
        }
        found, evenness = _values(self.counted)
        return ColumnStatistics(
            name=self.name,
            type=str(self.kind),
            nulls=self.nulls,
            distinct=self.distinct.estimate if self.distinct else None,
            repeated=self.distinct.num_repeated if self.distinct else None,
            exact=self.distinct.exact if self.distinct else True,
            values=found,
            num_values=len(self.counted) if found is not None and self.counted is not None else None,
            evenness=evenness,
            **numbers,
        )


def _floats(column: pl.Series) -> Floats:
    """NaN for null, and for infinity."""
    found = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(found), found, np.nan)


def _values(counted: Counter[Any] | None) -> tuple[list[ValueCount] | None, float | None]:
    """The most frequent first, equal ones by their text; and the evenness of all."""
    if not counted:
        return None, None
    total = sum(counted.values())
    ranked = sorted(counted.items(), key=lambda one: (-one[1], str(one[0])))[:SHOWN_VALUES]
    entropy = -math.fsum(count / total * math.log(count / total) for count in counted.values())
    even = entropy / math.log(len(counted)) if len(counted) > 1 else None
    return [ValueCount(value=value, rows=count, share=count / total) for value, count in ranked], even
