"""Texts with their class.

classification       {"text", "label"}; a list of labels when several hold
multi-label          {"text", "labels"}
pair-classification  {"sentence1", "sentence2", "label"} (GLUE's columns)
nli                  {"premise", "hypothesis", "label"}
"""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Labelled
from llmos.errors import InvalidValue


class LabelledShape(Shape):
    record = Labelled
    text: str = "text"
    pair: str | None = None
    label: str = "label"

    def read(self, row: Row) -> Labelled:
        extra = self.take(row)
        label, many = row[self.label], isinstance(row[self.label], list)
        pair = row[self.pair] if self.pair is not None else None
        return Labelled(text=row[self.text], pair=pair, labels=list(label) if many else [label], many=many, extra=extra)

    def write(self, record: Labelled, to: Writing) -> Row:
        if (record.pair is None) != (self.pair is None):
            has, holds = ("one text", "two") if self.pair else ("two texts", "one")
            raise InvalidValue(f"The row has {has}; the shape {self.name} holds {holds}.", param="text")
        many = record.many or len(record.labels) != 1
        row: Row = {self.text: record.text}
        if self.pair is not None:
            row[self.pair] = record.pair
        row[self.label] = record.labels if many or self.label == "labels" else record.labels[0]
        return self.carry(row, record.extra)


@shapes.register("classification")
class Classification(LabelledShape):
    name = "classification"
    columns = (Column("text", "text"), Column("label", "a label or a list of labels"))


@shapes.register("multi-label")
class MultiLabel(LabelledShape):
    name = "multi-label"
    columns = (Column("text", "text"), Column("labels", "a list of labels"))
    label = "labels"


@shapes.register("pair-classification")
class PairClassification(LabelledShape):
    name = "pair-classification"
    text, pair = "sentence1", "sentence2"
    columns = (Column("sentence1", "text"), Column("sentence2", "text"), Column("label", "a label or a list of labels"))


@shapes.register("nli")
class Nli(LabelledShape):
    name = "nli"
    text, pair = "premise", "hypothesis"
    columns = (Column("premise", "text"), Column("hypothesis", "text"), Column("label", "a label or a list of labels"))
