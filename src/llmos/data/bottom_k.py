"""Samples of fixed size from any number of rows: those with the smallest hashes.

    Distinct   how many different values a column has, and how often they occur
    Sampled    numbers of rows drawn evenly, for quantiles

Up to SIZE values or rows both are exact. Beyond that the sample is even, since a hash knows nothing of the value; and the same however
the rows are cut into batches. Number of different values: (k - 1) / (k-th smallest hash as a fraction), Beyer, Haas, Reinwald, Sismanis
and Gemulla 2007 ("On Synopses for Distinct-Value Estimation Under Multiset Operations"), standard error about 1/sqrt(k - 2): 0.4 %.
Quantiles: rank error at most 1/(2 sqrt(k)) = 0.2 % of the rows (standard error).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SIZE = 1 << 16

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

_MIXER = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64 (Steele, Lea, Flood 2014)
_OTHER = np.uint64(0x94D049BB133111EB)


def mixed(values: Hashes) -> Hashes:
    """Spreads them evenly over 64 bits: splitmix64's end."""
    found = (values ^ (values >> np.uint64(30))) * _MIXER
    found = (found ^ (found >> np.uint64(27))) * _OTHER
    return found ^ (found >> np.uint64(31))


class Distinct:
    """A value among the kept has been among them since it first came, so its count is of all rows."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)
        self._counts: Counts = np.zeros(0, dtype=np.int64)

    def add(self, hashes: Hashes) -> None:
        self.num_rows += len(hashes)
        if len(self._hashes) == SIZE:
            hashes = hashes[hashes <= self._hashes[-1]]
        found, counts = np.unique(hashes, return_counts=True)
        both, place = np.unique(np.concatenate([self._hashes, found]), return_inverse=True)
        summed = np.zeros(len(both), dtype=np.int64)
        np.add.at(summed, place, np.concatenate([self._counts, counts]))
        self._hashes, self._counts = both[:SIZE], summed[:SIZE]

    @property
    def exact(self) -> bool:
        return len(self._hashes) < SIZE

    @property
    def estimate(self) -> int:
        """Different values."""
        return self.num_rows - self.num_repeated

    @property
    def num_repeated(self) -> int:
        """Rows whose value an earlier row has. Where they are fewer than three standard errors of the number of different values, they
        are as frequent as among the kept ones, which no frequent value can then distort."""
        if self.exact:
            return self.num_rows - len(self._hashes)
        different = (SIZE - 1) / ((float(self._hashes[-1]) + 1) / 2.0**64)
        if self.num_rows - different > 3 * different / SIZE**0.5:
            return round(self.num_rows - different)
        return round(self.num_rows * (1 - SIZE / float(self._counts.sum())))


class Sampled:
    """Numbers of the rows with the smallest hashes, a column each."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)
        self._values: dict[str, Floats] = {}

    def add(self, hashes: Hashes, values: Mapping[str, Floats]) -> None:
        """values: as long as the hashes; NaN where a row has none. Always the same columns."""
        self.num_rows += len(hashes)
        if len(self._hashes) == SIZE:
            taken = hashes < self._hashes.max()
            hashes, values = hashes[taken], {name: one[taken] for name, one in values.items()}
        hashes = np.concatenate([self._hashes, hashes])
        kept = np.argpartition(hashes, SIZE - 1)[:SIZE] if len(hashes) > SIZE else np.arange(len(hashes))
        nothing: Floats = np.zeros(0)
        self._values = {name: np.concatenate([self._values.get(name, nothing), one])[kept] for name, one in values.items()}
        self._hashes = hashes[kept]

    @property
    def exact(self) -> bool:
        return self.num_rows <= SIZE

    def quantiles(self, name: str, at: tuple[float, ...]) -> list[float]:
        """Between neighbours, linearly; [] without a number."""
        values = self._values.get(name)
        there = values[~np.isnan(values)] if values is not None else np.zeros(0)
        return [float(one) for one in np.quantile(there, at)] if len(there) else []
