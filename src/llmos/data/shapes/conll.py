"""Words with one tag each: {"tokens": […], "tags": […]}, as readers of CoNLL files give them. Tags are names or numbers."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Tagged
from llmos.errors import InvalidValue


@shapes.register("conll")
class Conll(Shape):
    name = "conll"
    record = Tagged
    columns = (Column("tokens", "a list of texts"), Column("tags", "a list of labels"))

    def read(self, row: Row) -> Tagged:
        extra = self.take(row)
        tokens, tags = row["tokens"], row["tags"]
        if len(tokens) != len(tags):
            raise InvalidValue(f"There are {len(tags)} tags for {len(tokens)} tokens.", param="tags")
        return Tagged(tokens=list(tokens), tags=list(tags), extra=extra)

    def write(self, record: Tagged, to: Writing) -> Row:
        return self.carry({"tokens": record.tokens, "tags": record.tags}, record.extra)
