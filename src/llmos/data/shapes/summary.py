"""Documents with their summaries: {"document", "summary"} (XSum's columns)."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Summary


@shapes.register("summary")
class DocumentSummary(Shape):
    name = "summary"
    record = Summary
    columns = (Column("document", "text"), Column("summary", "text"))

    def read(self, row: Row) -> Summary:
        extra = self.take(row)
        return Summary(document=row["document"], summary=row["summary"], extra=extra)

    def write(self, record: Summary, to: Writing) -> Row:
        return self.carry({"document": record.document, "summary": record.summary}, record.extra)
