"""What a run counts: rows in and out of every step, why they went, and how the measured values are spread.

Tallies of parts add up to those of the run in any order. A spread is a histogram over one fixed grid for all signals (50 equal bins
in [0, 1], eight bins per doubling above, the same mirrored below), so that "what would another threshold drop?" is answered without
measuring again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_UNIT = np.linspace(0.0, 1.0, 51)
_ABOVE = 2.0 ** (np.arange(1, 8 * 40 + 1) / 8)
EDGES = np.concatenate([-_ABOVE[::-1], -_UNIT[:0:-1], _UNIT, _ABOVE])  # ascending; bin i is [EDGES[i], EDGES[i + 1])


@dataclass(slots=True)
class Spread:
    """counts: bin -> rows, only bins that have some. num_nan: rows the signal does not apply to."""

    counts: dict[int, int] = field(default_factory=dict)
    num_nan: int = 0
    total: float = 0.0

    def add(self, values: np.ndarray[Any, Any]) -> None:
        there = values[~np.isnan(values)]
        self.num_nan += len(values) - len(there)
        self.total += float(there.sum())
        bins = np.clip(np.searchsorted(EDGES, there, side="right") - 1, 0, len(EDGES) - 2)
        found, counts = np.unique(bins, return_counts=True)
        for place, count in zip(found.tolist(), counts.tolist(), strict=True):
            self.counts[place] = self.counts.get(place, 0) + count

    def merge(self, other: Mapping[str, Any]) -> None:
        for place, count in other["counts"].items():
            self.counts[int(place)] = self.counts.get(int(place), 0) + count
        self.num_nan += other["num_nan"]
        self.total += other["total"]

    def plain(self) -> dict[str, Any]:
        return {
            "counts": {str(place): self.counts[place] for place in sorted(self.counts)},
            "num_nan": self.num_nan,
            "total": self.total,
        }


@dataclass(slots=True)
class StepTally:
    """rows_in - dropped + made = rows_out. dropped_by: signal -> rows. refused_by: signal -> things made
    of rows and not taken. rules: signal -> (at_least, at_most) that stood."""

    rows_in: int = 0
    rows_out: int = 0
    changed: int = 0
    dropped_by: dict[str, int] = field(default_factory=dict)
    refused_by: dict[str, int] = field(default_factory=dict)
    rules: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    seconds: float = 0.0

    def drop(self, signal: str, count: int) -> None:
        if count:
            self.dropped_by[signal] = self.dropped_by.get(signal, 0) + count

    def refuse(self, signal: str, count: int = 1) -> None:
        self.refused_by[signal] = self.refused_by.get(signal, 0) + count

    def merge(self, other: Mapping[str, Any]) -> None:
        self.rows_in += other["rows_in"]
        self.rows_out += other["rows_out"]
        self.changed += other["changed"]
        self.seconds += other["seconds"]
        for signal, count in other["dropped_by"].items():
            self.drop(signal, count)
        for signal, count in other["refused_by"].items():
            self.refuse(signal, count)
        self.rules.update({signal: (limits[0], limits[1]) for signal, limits in other["rules"].items()})
        for signal, spread in other["spreads"].items():
            self.spreads.setdefault(signal, Spread()).merge(spread)

    def plain(self) -> dict[str, Any]:
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "changed": self.changed,
            "dropped_by": dict(sorted(self.dropped_by.items())),
            "refused_by": dict(sorted(self.refused_by.items())),
            "rules": {signal: list(limits) for signal, limits in sorted(self.rules.items())},
            "spreads": {signal: self.spreads[signal].plain() for signal in sorted(self.spreads)},
            "seconds": round(self.seconds, 6),
        }


@dataclass(slots=True)
class Tally:
    """Of a part or of a run. read: rows that came from files; errors: rows that could not be read."""

    read: int = 0
    errors: int = 0
    steps: dict[str, StepTally] = field(default_factory=dict)

    def step(self, label: str) -> StepTally:
        return self.steps.setdefault(label, StepTally())

    def merge(self, other: Mapping[str, Any]) -> None:
        self.read += other["read"]
        self.errors += other["errors"]
        for label, tally in other["steps"].items():
            self.step(label).merge(tally)

    def plain(self) -> dict[str, Any]:
        return {"read": self.read, "errors": self.errors, "steps": {label: tally.plain() for label, tally in self.steps.items()}}
