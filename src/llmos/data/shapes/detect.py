"""Which shape rows have, seen from their columns and values, with the reason; never a guess between equals.

A shape is a candidate when at least half of the sampled rows fit it (the rest will be reported row by row, not decide). The
candidate that explains most columns wins: {"text", "label"} is classification, not text with a column left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from llmos.data.shapes.base import Row, Shape, shapes
from llmos.errors import InvalidValue

SAMPLE_ROWS = 200
_OVERRIDE = "Say which with source=…, or map columns to a shape's: Mapping(shape='alpaca', columns={'output': 'reply'})."


@dataclass(frozen=True, slots=True)
class Detection:
    """alternatives: the other shapes that fit, best first. extra: the columns that will be carried along."""

    shape: str
    why: str
    alternatives: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    shape: Shape
    columns: tuple[str, ...]
    num_fits: int

    @property
    def rank(self) -> tuple[int, int]:
        return len(self.columns), self.num_fits


def detect(columns: Iterable[str], rows: Sequence[Row]) -> Detection:
    """The shape of rows with these columns; the first SAMPLE_ROWS rows are looked at. Raises InvalidValue (param source) when no
    shape fits, or several fit equally well."""
    names = list(columns)
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        raise InvalidValue("There is no row to see the shape of.", param="source", hint=_OVERRIDE)
    found = sorted(_candidates(names, sample), key=lambda each: each.rank, reverse=True)
    if not found:
        raise InvalidValue(f"No shape fits the columns {', '.join(names)}.{_nearest(names)}", param="source", hint=_OVERRIDE)
    best = [each for each in found if each.rank == found[0].rank]
    best = [each for each in best if each.shape.yields_to not in {other.shape.name for other in best}]
    if len(best) > 1:
        both = " and ".join(f"{each.shape.name} ({', '.join(each.columns)})" for each in best)
        raise InvalidValue(f"The rows fit {both} equally well.", param="source", hint=_OVERRIDE)
    winner = best[0]
    extra = tuple(name for name in names if name not in winner.columns)
    why = f"it has the columns {', '.join(winner.columns)}, and {winner.num_fits} of {len(sample)} sampled rows fit"
    others = tuple(each.shape.name for each in found if each is not winner)
    return Detection(winner.shape.name, why, others, extra)


def _candidates(names: list[str], sample: list[Row]) -> list[_Candidate]:
    found = []
    for _, shape in shapes:
        present = tuple(name for name in names if name in shape.names)
        if any(column.required and column.name not in present for column in shape.columns):
            continue
        num_fits = sum(shape.fits(row) for row in sample)
        if num_fits * 2 >= len(sample):
            found.append(_Candidate(shape, present, num_fits))
    return found


def _nearest(names: list[str]) -> str:
    """The shape with most of its required columns there, and what it lacks."""
    best, lacking = 0.0, ""
    for name, shape in shapes:
        needed = [column for column in shape.columns if column.required]
        missing = [column.name for column in needed if column.name not in names]
        share = 1 - len(missing) / len(needed)
        if share > best:
            what = f"lacks {', '.join(missing)}" if missing else "has other types: " + _types(shape)
            best, lacking = share, f" The nearest is {name}, which {what}."
    return lacking


def _types(shape: Shape) -> str:
    return ", ".join(f"{column.name} is {column.kind}" for column in shape.columns if column.required)
