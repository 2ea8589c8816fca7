"""Rows on their way into a project, checked one by one: a row that is wrong is told with its number, the others come in.

    row (its data, what was said of it, a pre-label, a decision) --checked--> Ready --ItemStore.add--> a new item, or joined to one

What a row brings is joined to an item that is there with the same data: exported, annotated elsewhere and imported again, it is not lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from llmos.access.projects import utc_after
from llmos.data.annotate.base import (
    MAX_KEY,
    MAX_NOTE,
    MAX_PROBLEMS,
    Adjudicated,
    AnnotationProject,
    ImportReport,
    ItemState,
    Prelabel,
    Problem,
    Row,
    Said,
    checked_annotator,
    checked_reason,
    rank_of,
)
from llmos.data.annotate.rows import dumped, key_of
from llmos.data.annotate.tasks.base import checked_item, checked_value
from llmos.data.annotate.uncertainty import uncertainty
from llmos.errors import InvalidValue, LLMOSError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A row that is right. data, prelabel, adjudicated: as their columns have them."""

    number: int
    key: str
    data: str
    said: tuple[Said, ...]
    prelabel: str | None
    uncertainty: float | None
    adjudicated: str | None

    @property
    def brings(self) -> bool:
        """Something beside the item itself."""
        return bool(self.said or self.prelabel or self.adjudicated)


class Incoming:
    """One import: what it has found so far."""

    def __init__(self, annotation: AnnotationProject) -> None:
        self.follow(annotation)
        self.problems: list[Problem] = []
        self.added = self.known = self.said = self.wrong = 0

    def follow(self, annotation: AnnotationProject) -> None:
        """The project as it is now: a long import may see its configuration change."""
        self.annotation = annotation
        self.task, self.config = annotation.kind, annotation.settings

    @property
    def report(self) -> ImportReport:
        return ImportReport(
            num_added=self.added,
            num_known=self.known,
            num_annotations=self.said,
            num_problems=self.wrong,
            problems=tuple(sorted(self.problems, key=lambda one: one.row)),
        )

    def problem(self, number: int, error: LLMOSError) -> None:
        self.wrong += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(row=number, message=str(error), param=error.param))

    def checked(self, piece: Iterable[tuple[int, Row]]) -> Iterator[Ready]:
        """The good ones of these rows."""
        for number, row in piece:
            try:
                yield self._ready(number, row)
            except LLMOSError as error:
                self.problem(number, error)

    def state(self, values: Sequence[dict[str, Any]], adjudicated: str | None) -> dict[str, Any]:
        """The columns of an item that follow from what is said of it."""
        done = len(values) >= self.config.overlap
        state = ItemState.ADJUDICATED if adjudicated is not None else ItemState.DONE if done else ItemState.OPEN
        return {"state": state.value, "num_done": len(values), "differs": int(done and self.task.differ(values))}

    def suggested(self, item: int, row: Ready) -> dict[str, Any]:
        """The columns of an item that follow from its pre-label."""
        rank = rank_of(self.config.order, item, row.uncertainty)
        return {"prelabel": row.prelabel, "uncertainty": row.uncertainty, "rank": rank}

    def _ready(self, number: int, row: Row) -> Ready:
        data = checked_item(self.task, row.data)
        said = tuple(self._said(one, data) for one in row.annotations)
        names = [one.annotator for one in said]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidValue(f"The annotator {twice!r} annotates this item twice.", param="annotations")
        key = row.key if row.key is not None else key_of(data)
        if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
            raise InvalidValue(f"The id of an item must be 1 to {MAX_KEY} printable characters.", param="id")
        text, unsure = self._prelabel(row.prelabel, data)
        decided = None if row.adjudicated is None else dumped(msgspec.to_builtins(self._decided(row.adjudicated, data)))
        return Ready(number=number, key=key, data=dumped(data), said=said, prelabel=text, uncertainty=unsure, adjudicated=decided)

    def _said(self, one: Said, data: dict[str, Any]) -> Said:
        who = checked_annotator(one.annotator)
        if not (math.isfinite(one.seconds) and one.seconds >= 0):
            raise InvalidValue(f"{who!r} spent {one.seconds} seconds on it; that is no time.", param="annotations")
        if one.value is None:
            return Said(annotator=who, skipped=checked_reason(one.skipped or ""), seconds=one.seconds)
        return Said(annotator=who, value=checked_value(self.task, one.value, data, self.config), seconds=one.seconds)

    def _prelabel(self, prelabel: Prelabel | None, data: dict[str, Any]) -> tuple[str | None, float | None]:
        """As its column has it, and how unsure the model was, by its probabilities."""
        if prelabel is None:
            return None, None
        value = checked_value(self.task, prelabel.value, data, self.config, "prelabel")
        chances = prelabel.probabilities
        unsure = None
        if chances is not None:
            if self.task.prelabels == "predict" and set(chances) != set(self.config.names):
                raise InvalidValue(
                    "prelabel.probabilities has not exactly the labels of the project.", param="prelabel.probabilities"
                )
            if not all(0 <= chance <= 1 for chance in chances.values()):
                raise InvalidValue("prelabel.probabilities are numbers from 0 to 1.", param="prelabel.probabilities")
            unsure = uncertainty(chances, several=self.task.name == "multilabel")
        return dumped({"value": value, "model": prelabel.model, "probabilities": chances}), unsure

    def _decided(self, decided: Adjudicated, data: dict[str, Any]) -> Adjudicated:
        if len(decided.note) > MAX_NOTE:
            raise InvalidValue(f"The note has {len(decided.note)} characters; {MAX_NOTE} are possible.", param="adjudicated.note")
        value = checked_value(self.task, decided.value, data, self.config, "adjudicated")
        return replace(decided, value=value, reviewer=checked_annotator(decided.reviewer), at=decided.at or utc_after())
