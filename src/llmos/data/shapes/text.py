"""Rows of plain text, {"text"}: what language models are trained on first."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import PlainText


@shapes.register("text")
class Text(Shape):
    name = "text"
    record = PlainText
    columns = (Column("text", "text"),)

    def read(self, row: Row) -> PlainText:
        extra = self.take(row)
        return PlainText(text=row["text"], extra=extra)

    def write(self, record: PlainText, to: Writing) -> Row:
        return self.carry({"text": record.text}, record.extra)
