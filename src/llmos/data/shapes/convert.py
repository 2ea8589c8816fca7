"""Rows of one shape become rows of another, through the record both mean, and each row that cannot says why.

    convert_rows(rows, "messages")                                   # the shape they have is detected
    convert_rows(rows, "kto", source="preference", answer="chosen", lossy=True)

A conversion loses nothing unless it is allowed to: what a shape cannot hold is an error of that row, which names the field. One bad
row is a RowProblem in its place; the others are converted all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import ValidationError

from llmos.data.shapes.base import ABOUT, Options, Row, Shape, Writing, shapes
from llmos.data.shapes.bridges import path
from llmos.data.shapes.detect import SAMPLE_ROWS, detect
from llmos.data.shapes.mapping import Mapping
from llmos.data.shapes.records import Conversation, Feedback
from llmos.errors import InvalidValue, did_you_mean


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Stands where the row would. index: of the row, from 0. field: the column at fault, or `column[3].key` in it."""

    index: int
    field: str
    message: str


class Converter:
    """Converts rows from one shape to another, one at a time. losses: how many rows lost what, where that was allowed.
    carried: the columns that are none of the source shape's own and came along."""

    def __init__(self, source: str | Mapping, to: str | Mapping, *, lossy: bool = False, options: Options | None = None) -> None:
        """Raises NotFound for an unknown shape, UnsupportedFeature when one meaning cannot become the other, InvalidValue for an
        option that this conversion does not use."""
        self.source, self.target = _shape(source), _shape(to)
        self.options = options or Options()
        self._bridges = path(self.source.record, self.target.record)
        self._same = source == to and not self.options.given()
        self.carried: set[str] = set()
        self.losses: Counter[str] = Counter()
        self._lossy = lossy
        uses = self.target.uses.union(*(each.uses for each in self._bridges))
        given = self.options.given()
        for name in (name for each in self._bridges for name in each.needs if name not in given):
            what = f"To go from {self.source.name} to {self.target.name}, give the option {name}: {ABOUT[name]}."
            raise InvalidValue(what, param=name)
        for name in given:
            if name not in uses:
                what = f"From {self.source.name} to {self.target.name} the option {name} has no effect."
                raise InvalidValue(what, param=name, hint=f"Options here: {', '.join(sorted(uses)) or 'none'}.")

    def convert(self, row: Row, index: int) -> Row | RowProblem:
        """The new row, or what is wrong with it. Rows of the shape asked for are checked and come back as they are."""
        to = Writing(options=self.options, lossy=self._lossy, index=index)
        try:
            record = self.source.read(row)
            if record.extra:
                self.carried.update(record.extra)
            if self._same:
                return row
            if isinstance(record, Conversation) and record.prompt_turns is not None:
                self._keep_boundary(to)
            for bridge in self._bridges:
                record = bridge.convert(record, to)
            new = self.target.write(record, to)
        except InvalidValue as problem:
            return RowProblem(index, problem.param or "", str(problem))
        self.losses.update(to.lost)
        return new

    def _keep_boundary(self, to: Writing) -> None:
        if self.target.name != "prompt-completion-messages" and self.target.record is not Feedback:
            to.lose("completion", "where the prompt ends and the completion begins")


def convert_rows(
    rows: Sequence[Row], to: str | Mapping, *, source: str | Mapping | None = None, lossy: bool = False, **options: Any
) -> list[Row | RowProblem]:
    """Each row in shape `to`, or its problem, in order. source: the shape the rows have; detected when not given. options: those of
    `Options`. Raises InvalidValue when the shape cannot be told, or for an option that is unknown or not used here."""
    if not rows:
        return []
    if source is None:
        sample = rows[:SAMPLE_ROWS]
        source = detect(dict.fromkeys(name for row in sample for name in row), sample).shape
    converter = Converter(source, to, lossy=lossy, options=make_options(options))
    return [converter.convert(row, index) for index, row in enumerate(rows)]


def make_options(given: dict[str, Any]) -> Options:
    """Raises InvalidValue for a name that is no option, or a value of another type."""
    known = [each.name for each in fields(Options)]
    for name in given:
        if name not in known:
            raise InvalidValue(f"Unknown option {name!r}.", param=name, hint=did_you_mean(name, known))
    try:
        return Options(**given)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise InvalidValue(f"Bad value {given[name]!r}: {first['msg']}.", param=name, hint=f"It is {ABOUT[name]}.") from None


def _shape(wanted: str | Mapping) -> Shape:
    return wanted.bound() if isinstance(wanted, Mapping) else shapes.get(wanted)
