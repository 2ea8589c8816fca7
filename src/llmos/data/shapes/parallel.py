"""Texts and their translations: {"source", "target"}, and {"translation": {"en": …, "fr": …}}."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Parallel
from llmos.errors import InvalidValue


def languages(record: Parallel, to: Writing) -> tuple[str, str]:
    """Of the row, or else of the options. Raises InvalidValue when neither says them, or when they differ."""
    found = []
    for field, said in (("source_language", record.source_language), ("target_language", record.target_language)):
        asked = getattr(to.options, field)
        if said and asked and said != asked:
            raise InvalidValue(f"The row is in {said!r}, the option says {asked!r}.", param=field)
        found.append(said or to.need(field, "The languages of a translation must be known"))
    return found[0], found[1]


def _present(texts: Row) -> Row:
    """Parquet gives every row the languages of all: null is none."""
    return {language: text for language, text in texts.items() if text is not None}


@shapes.register("parallel")
class SourceTarget(Shape):
    name = "parallel"
    record = Parallel
    columns = (
        Column("source", "text"),
        Column("target", "text"),
        Column("source_language", "text", required=False),
        Column("target_language", "text", required=False),
    )

    def read(self, row: Row) -> Parallel:
        extra = self.take(row)
        first, second = row.get("source_language") or "", row.get("target_language") or ""
        return Parallel(source=row["source"], target=row["target"], source_language=first, target_language=second, extra=extra)

    def write(self, record: Parallel, to: Writing) -> Row:
        row: Row = {"source": record.source, "target": record.target}
        for field in ("source_language", "target_language"):
            if getattr(record, field):
                row[field] = getattr(record, field)
        return self.carry(row, record.extra)


@shapes.register("translation")
class Translation(Shape):
    """The order of the languages is the direction."""

    name = "translation"
    record = Parallel
    columns = (Column("translation", "an object"),)
    uses = frozenset(("source_language", "target_language"))

    def fits(self, row: Row) -> bool:
        return super().fits(row) and len(_present(row["translation"])) == 2

    def read(self, row: Row) -> Parallel:
        extra = self.take(row)
        texts = _present(row["translation"])
        if len(texts) != 2 or not all(isinstance(text, str) for text in texts.values()):
            raise InvalidValue(f"It must have a text in each of two languages; it has {', '.join(texts)}.", param="translation")
        (first, source), (second, target) = texts.items()
        return Parallel(source=source, target=target, source_language=first, target_language=second, extra=extra)

    def write(self, record: Parallel, to: Writing) -> Row:
        first, second = languages(record, to)
        if first == second:
            raise InvalidValue(f"Source and target are both in {first!r}.", param="target_language")
        return self.carry({"translation": {first: record.source, second: record.target}}, record.extra)
