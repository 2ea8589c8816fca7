"""New rows out of answers: what a step takes of them, what it refuses and why, and the marks that synthetic rows carry.

    synthetic   the step that wrote the row, null for rows of the sources
    model       name and version of the model, null where there was none
    parent      id of the row that it was made of

The other columns are those of the parent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from llmos.data.base import ID, Expanded, Refused, Rows
from llmos.data.synth.asked import Answer
from llmos.data.synth.overlap import likeness
from llmos.errors import InvalidValue

MARKS = ("synthetic", "model", "parent")


@dataclass(slots=True, kw_only=True)
class Making:
    """The new rows of one batch. columns: what the step writes, with their types. originals: whether the rows themselves go on."""

    rows: Rows
    step: str
    model: str | None
    columns: Mapping[str, Any]
    originals: bool
    _parents: list[int] = field(default_factory=list)
    _made: list[dict[str, Any]] = field(default_factory=list)
    _refused: list[Refused] = field(default_factory=list)

    def add(self, row: int, values: dict[str, Any]) -> None:
        """values: of `columns`; those that are not given are null."""
        self._parents.append(row)
        self._made.append(values)

    def refuse(
        self, row: int, signal: str, detail: str = "", *, value: float = float("nan"), threshold: float = float("nan")
    ) -> None:
        self._refused.append(Refused(row=row, signal=signal, value=value, threshold=threshold, detail=detail))

    def finish(self) -> Expanded:
        """All rows, those of one parent together, the parent first. Raises InvalidValue when a column of the rows has another type."""
        frame = self.rows.frame.drop(ID)
        ids = self.rows.frame.get_column(ID)
        types = {**self.columns, **dict.fromkeys(MARKS, pl.String)}
        frame = frame.with_columns(**{name: self._as(frame, name, kind) for name, kind in types.items()})
        marks = {"synthetic": self.step, "model": self.model}
        made = frame[self._parents].with_columns(
            **{name: pl.Series([one.get(name) for one in self._made], dtype=kind) for name, kind in self.columns.items()},
            **{name: pl.lit(value, dtype=pl.String) for name, value in marks.items()},
            parent=ids.gather(self._parents),
        )
        parts = [(frame, list(range(frame.height)))] if self.originals else []
        parts.append((made, self._parents))
        parents = np.array([row for _, rows in parts for row in rows], dtype=np.int64)
        order = np.argsort(parents, kind="stable")
        return Expanded(pl.concat([one for one, _ in parts])[order], parents[order], self._refused)

    def _as(self, frame: pl.DataFrame, name: str, kind: Any) -> pl.Series:
        found = frame.get_column(name) if name in frame.columns else pl.Series([None] * frame.height, dtype=kind)
        if found.dtype == pl.Null:
            return found.cast(kind)
        if found.dtype != kind:
            raise InvalidValue(
                f"{self.step} writes the column {name} as {kind}; the rows have one that holds {found.dtype}.",
                param="column", hint="Rename it where it is read (columns of the source), or name another column in the step.",
            )  # fmt: skip
        return found


def marked(rows: Rows, step: str, model: str) -> dict[str, pl.Series]:
    """The marks of rows that got a synthetic column but are themselves what they were: the steps that wrote in them, joined by +."""

    def joined(name: str, value: str) -> pl.Series:
        if name not in rows.frame.columns:
            return pl.Series([value] * len(rows), dtype=pl.String)
        return pl.Series([f"{old}+{value}" if old else value for old in rows.text(name).to_list()], dtype=pl.String)

    parents = rows.frame.get_column(ID)
    if "parent" in rows.frame.columns:
        parents = rows.frame.get_column("parent").fill_null(parents)
    return {"synthetic": joined("synthetic", step), "model": joined("model", model), "parent": parents.alias("parent")}


@dataclass(slots=True, kw_only=True)
class Copies:
    """Holds rewritten texts against their original and against each other: too near is a copy, too far is another text."""

    making: Making
    at_most: float
    at_least: float = 0.0
    min_cosine: float = -1.0
    _seen: dict[int, list[str]] = field(default_factory=dict)

    def take(self, row: int, text: str, original: str, *, column: str, cosine: float = 1.0) -> None:
        """Adds the row with the text in that column, unless it is refused. cosine: of the vectors of both."""
        near = likeness(text, original)
        twice = max((likeness(text, other) for other in self._seen.get(row, [])), default=0.0)
        if near > self.at_most:
            self.making.refuse(row, "likeness", "It is nearly the text itself.", value=near, threshold=self.at_most)
        elif near < self.at_least:
            self.making.refuse(row, "likeness", "It has too little of the text.", value=near, threshold=self.at_least)
        elif cosine < self.min_cosine:
            self.making.refuse(row, "cosine", f"It means something else: {text[:150]}", value=cosine, threshold=self.min_cosine)
        elif twice > self.at_most:
            self.making.refuse(row, "likeness_to_sibling", "It is nearly another answer.", value=twice, threshold=self.at_most)
        else:
            self._seen.setdefault(row, []).append(text)
            self.making.add(row, {column: text})


def json_of(answer: Answer) -> Any:
    """The JSON of an answer, also one with words around it. Raises ValueError with the reason, in words."""
    if answer.refused:
        raise ValueError(answer.refused)
    text = answer.body["text"]
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    if not starts:
        raise ValueError(f"The answer has no JSON: {text[:80]!r}")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[min(starts) :])
    except (ValueError, RecursionError) as problem:  # a model that repeats itself opens brackets without end
        raise ValueError(f"The answer is not JSON ({problem}): {text[:80]!r}") from None
    return found
