"""Steps that choose among all rows by a field: the highest, a range of ranks, the most frequent values.

Which rows are chosen does not depend on how the input is cut; where two rows are alike, the one that comes first is chosen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from llmos.data.base import Gatherer, Rows, Sketches, StepConfig, Verdict, step
from llmos.data.steps.fields import field_of

Truths = np.ndarray[Any, np.dtype[np.bool_]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Choice:
    """kept: of all rows. value: for the ledger. threshold: what the values were held against, or each of them."""

    kept: Truths
    value: Floats
    threshold: float | Floats


class Selector(Gatherer):
    """Holds one value per row in memory, nothing else."""

    signal: ClassVar[str]

    @abstractmethod
    def value(self, rows: Rows) -> pl.Series: ...

    @abstractmethod
    def choose(self, values: pl.Series) -> Choice:
        """values: of all rows, in their order."""

    def sketch(self, rows: Rows) -> pl.DataFrame:
        return pl.DataFrame({"value": self.value(rows)})

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        parts = list(sketches.column("value"))
        values = pl.concat(parts) if parts else pl.Series("value", [], dtype=pl.Float64)
        made = self.choose(values)
        at = 0
        for part in parts:
            here = slice(at, at + len(part))
            at += len(part)
            kept = made.kept[here].astype(np.int32)
            limit = made.threshold if isinstance(made.threshold, float) else made.threshold[here]
            yield Verdict(keep=kept, signal=self.signal, value=made.value[here], threshold=limit)


class NumberConfig(StepConfig):
    num: int | None = Field(None, ge=1, description="How many; of num and share the smaller one counts.")
    share: float | None = Field(None, gt=0, le=1, description="How many, as a share of all.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.num is None and self.share is None:
            raise ValueError("give num, share or both")
        return self

    def of(self, total: int) -> int:
        """How many of `total` are meant."""
        most = total if self.share is None else int(self.share * total)
        return most if self.num is None else min(most, self.num)


def numbers(rows: Rows, field: str) -> pl.Series:
    """A field as numbers; what is none is null and is never chosen."""
    found = field_of(rows, field, one="field").cast(pl.Float64, strict=False)
    return found.fill_nan(None)


@step("top_by_field")
class TopByField(Selector):
    """Keeps the rows with the highest (or lowest) values of a field. Semantics of Data-Juicer's `topk_specified_field_selector`."""

    class Config(NumberConfig):
        field: str = Field(min_length=1, description="Column of numbers, or `column.field` of a nested one.")
        highest: bool = Field(True, description="false keeps the lowest.")

    config: Config
    signal = "rank"

    def value(self, rows: Rows) -> pl.Series:
        return numbers(rows, self.config.field)

    def choose(self, values: pl.Series) -> Choice:
        return up_to(ranks(values, highest=self.config.highest), self.config.of(len(values)))


@step("range_by_field")
class RangeByField(Selector):
    """Keeps rows whose rank by a field, ascending, is above `lower` and up to `upper`. Each can be a rank, a share of all rows, or both:
    then the narrower one counts. Semantics of Data-Juicer's `range_specified_field_selector`."""

    class Config(StepConfig):
        field: str = Field(min_length=1, description="Column of numbers, or `column.field` of a nested one.")
        lower_rank: int = Field(0, ge=0, description="So many rows with the lowest values are left out.")
        upper_rank: int | None = Field(None, ge=1, description="The highest rank that is kept.")
        lower_share: float = Field(0.0, ge=0, le=1, description="As lower_rank, as a share of all rows.")
        upper_share: float = Field(1.0, ge=0, le=1, description="As upper_rank, as a share of all rows.")

    config: Config
    signal = "rank"

    def value(self, rows: Rows) -> pl.Series:
        return numbers(rows, self.config.field)

    def choose(self, values: pl.Series) -> Choice:
        total = len(values)
        upper = int(self.config.upper_share * total)
        upper = upper if self.config.upper_rank is None else min(upper, self.config.upper_rank)
        lower = min(upper, max(int(self.config.lower_share * total), self.config.lower_rank))
        rank = ranks(values, highest=False)
        chosen = np.argsort(rank)[: int((rank < upper).sum())]  # rows, ascending by value
        down = ranks(values.gather(chosen), highest=True)
        kept = np.zeros(total, dtype=bool)
        kept[chosen[down < upper - lower]] = True
        return Choice(kept, rank.astype(np.float64), np.where(rank < upper, float(lower), float(upper)))


@step("frequent_values")
class FrequentValues(Selector):
    """Keeps the rows with the most (or least) frequent values of a field: num or share of the different values. Semantics of
    Data-Juicer's `frequency_specified_field_selector`."""

    class Config(NumberConfig):
        field: str = Field(min_length=1, description="Column, or `column.field` of a nested one.")
        most: bool = Field(True, description="false keeps the rarest.")

    config: Config
    signal = "frequency"

    def value(self, rows: Rows) -> pl.Series:
        return field_of(rows, self.config.field)

    def choose(self, values: pl.Series) -> Choice:
        frame = pl.DataFrame({"value": values}).with_row_index("row")
        counts = frame.group_by("value", maintain_order=True).agg(pl.len().alias("count"))
        counts = counts.sort("count", descending=self.config.most, maintain_order=True).with_row_index("place")
        num = self.config.of(counts.height)
        joined = frame.join(counts, on="value", how="left", nulls_equal=True).sort("row")
        least = counts.get_column("count")[num - 1] if num else 0
        value = joined.get_column("count").cast(pl.Float64).to_numpy()
        return Choice(joined.get_column("place").to_numpy() < num, value, float(least))


def ranks(values: pl.Series, *, highest: bool) -> Ints:
    """From 0, each once, in order of the values and then of the rows; rows without a value have the number of rows."""
    frame = pl.DataFrame({"value": values}).with_row_index("row")
    order = frame.sort("value", "row", descending=[highest, False], nulls_last=True).get_column("row").to_numpy()
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.arange(len(values))
    found[values.is_null().to_numpy()] = len(values)
    return found


def up_to(rank: Ints, num: int) -> Choice:
    """The first `num`."""
    return Choice(rank < num, rank.astype(np.float64), float(num))
