"""What all deduplication by pairs has in common: sets out of pairs, who of a set stays, and what the ledger says of the others.

A step gives keys (rows with equal keys are a pair) and perhaps a measure of how alike a pair is. Earlier versions and other data sets
can be `against`: their rows count as seen before and are not part of what comes out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from llmos.data.base import Gatherer, Rows, Sketches, TextConfig, Values, Verdict
from llmos.data.clusters import Clusters, Ints, pairs
from llmos.data.recipe import Source
from llmos.errors import InvalidValue

# RFC 3339, the same without a zone or seconds (ISO 8601), RFC 5322 (section 3.3) without the name of the day
_FORMS = ("%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%d %b %Y %H:%M:%S %z")
Floats = np.ndarray[Any, np.dtype[np.float64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


class DedupConfig(TextConfig):
    keep: Literal["first", "longest", "best", "newest"] = Field("first", description="Which one of a set stays.")
    by: str = Field(
        "",
        description="Column that `best` and `newest` go by; the largest value stays. A text that is no date (ISO 8601, or as in mails)"
        " is older than all that are.",
    )
    against: tuple[str, ...] = Field((), description="Dataset versions whose rows count as seen before.")
    cluster_column: str = Field("", description="Adds the size of the set a row stands for, under this name.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.keep in ("best", "newest") and not self.by:
            raise ValueError(f"keep: {self.keep} needs `by`, the column it goes by")
        return self


class Likeness(Protocol):
    """How alike the rows of a pair are, from 0 to 1."""

    def of(self, first: Ints, second: Ints) -> Floats: ...


class Dedup(Gatherer):
    """Subclasses add their keys to the sketch: uint64 columns named in `keys`, and `empty` for rows that have no partner."""

    config: DedupConfig
    signal = "duplicate"

    def reference(self) -> Sequence[Source]:
        return tuple(Source(dataset=ref) for ref in self.config.against)

    @abstractmethod
    def key_columns(self, rows: Rows) -> dict[str, Any]:
        """The columns of the sketch, without `rank`."""

    @abstractmethod
    def keys(self) -> Sequence[str]:
        """Rows that agree in one of these columns are a pair."""

    def likeness(self, sketches: Sketches) -> tuple[Likeness, float] | None:
        """A measure that pairs must reach to count, and the least value; None: every pair counts."""
        return None

    def sketch(self, rows: Rows) -> pl.DataFrame:
        return pl.DataFrame(self.key_columns(rows) | {"rank": pl.Series(self._rank(rows))})

    def _rank(self, rows: Rows) -> Values:
        """What decides who stays: larger is better, of equals the first."""
        if self.config.keep == "first":
            return np.zeros(len(rows))
        if self.config.keep == "longest":
            return rows.text(self.column).str.len_chars().cast(pl.Float64)
        column = rows.column(self.config.by)
        if column.dtype == pl.String and self.config.keep == "newest":
            column = moments(column)
        if column.dtype == pl.String or column.dtype.is_nested():
            raise InvalidValue(f"{self.config.by!r} holds {column.dtype}; keep: best goes by numbers.", param="by")
        return column.cast(pl.Int64 if column.dtype.is_temporal() else pl.Float64).cast(pl.Float64).fill_null(float("-inf"))

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        empty, rank = whole(sketches, "empty", bool), whole(sketches, "rank", np.float64)
        references = np.repeat([role == "reference" for role in sketches.roles], sketches.heights).astype(bool)
        clusters = Clusters(len(empty))
        measured = self.likeness(sketches)
        for name in self.keys():
            first, second = pairs(whole(sketches, name, np.uint64), empty, star=measured is not None)
            if measured is not None:
                near = measured[0].of(first, second) >= measured[1]
                first, second = first[near], second[near]
            clusters.join(first, second)
        kept = clusters.best(rank, references)
        yield from self._verdicts(sketches, clusters.sizes(), kept, measured)

    def _verdicts(self, sketches: Sketches, sizes: Ints, kept: Ints, measured: tuple[Likeness, float] | None) -> Iterator[Verdict]:
        stays = kept == np.arange(len(kept))
        for part, (start, height) in enumerate(zip(sketches.starts, sketches.heights, strict=True)):
            if sketches.roles[part]:
                continue
            here = slice(start, start + height)
            gone = np.flatnonzero(~stays[here])
            value = np.full(height, np.nan)
            if measured is not None:
                value[gone] = measured[0].of(gone + start, kept[here][gone])
            yield Verdict(
                keep=stays[here].astype(np.int32),
                signal=self.signal,
                value=value,
                threshold=float("nan") if measured is None else measured[1],
                other=dict(zip(gone.tolist(), sketches.ids(kept[here][gone]), strict=True)),
                columns={self.config.cluster_column: pl.Series(sizes[here])} if self.config.cluster_column else {},
            )


def whole(sketches: Sketches, name: str, kind: Any) -> np.ndarray[Any, Any]:
    """The column over all parts."""
    found = [one.to_numpy() for one in sketches.column(name)]
    return np.concatenate(found) if found else np.zeros(0, dtype=kind)


def moments(texts: pl.Series) -> pl.Series:
    """Microseconds since 1970 of dates as text, null for what is none. UTC where no zone is said. Every text is read for itself: a form
    that is guessed from the first of a batch would be another one for other batches."""
    plain = texts.str.strip_chars().str.replace(r"^(\d{4})/(\d\d)/(\d\d)", "$1-$2-$3").str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
    plain = plain.str.replace(r"^[A-Z][a-z]{2}, ", "").str.replace(r" \([A-Z]*\)$", "").str.replace(r" (?:UTC?|GMT)$", " +0000")
    found = [plain.str.to_datetime(form, strict=False, time_unit="us").cast(pl.Int64) for form in _FORMS]
    day = plain.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).cast(pl.Int64)
    return pl.select(pl.coalesce(*found, day)).to_series()
