"""What a model says of items before people do: suggestions, kept apart from annotations, and the labels that its probabilities doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from llmos.data.annotate.base import AnnotationProject, LabelError, LabelErrors, Prelabel, rank_of
from llmos.data.annotate.confident import find_label_errors
from llmos.data.annotate.items import ItemStore
from llmos.data.annotate.review import final_of
from llmos.data.annotate.rows import dumped, loaded
from llmos.data.annotate.store import find
from llmos.data.annotate.tasks.base import checked_value
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.infra.database import Database
from llmos.infra.tables import annotation_items

Probabilities = Mapping[str, Mapping[str, float]]  # key of an item -> label -> probability


class Prelabels:
    """Of one database."""

    def __init__(self, database: Database, items: ItemStore) -> None:
        self.database, self.items = database, items

    def pending(
        self, annotation: AnnotationProject, *, after: int, limit: int, overwrite: bool
    ) -> list[tuple[int, dict[str, Any]]]:
        """Items without a pre-label (overwrite: all) with a number over `after`, and their data."""
        table = annotation_items.c
        wanted = sa.select(table.item, table.data).where(table.annotation_id == annotation.id, table.item > after)
        if not overwrite:
            wanted = wanted.where(table.prelabel.is_(None))
        with self.database.begin(read_only=True) as connection:
            return [(row.item, loaded(row.data)) for row in connection.execute(wanted.order_by(table.item).limit(limit))]

    def count(self, annotation: AnnotationProject, *, overwrite: bool) -> int:
        """How many are pending."""
        table = annotation_items.c
        wanted = sa.select(sa.func.count()).where(table.annotation_id == annotation.id)
        if not overwrite:
            wanted = wanted.where(table.prelabel.is_(None))
        with self.database.begin(read_only=True) as connection:
            return int(connection.execute(wanted).scalar_one())

    def put(self, annotation: AnnotationProject, made: Sequence[tuple[int, dict[str, Any], Prelabel, float | None]]) -> None:
        """(item, data, pre-label, uncertainty) each; safe to do again. Raises InvalidValue for a value that does not fit the task."""
        table = annotation_items.c
        rows: list[dict[str, Any]] = []
        for item, data, prelabel, unsure in made:
            value = checked_value(annotation.kind, prelabel.value, data, annotation.settings, "prelabel")
            text = dumped(msgspec.to_builtins(prelabel) | {"value": value})
            rows.append({"at": item, "prelabel": text, "uncertainty": unsure})
        if not rows:
            return
        with self.database.begin() as connection:
            order = find(connection, annotation.id, None).settings.order  # it may have changed since the job began
            for row in rows:
                row["rank"] = rank_of(order, row["at"], row["uncertainty"])
            connection.execute(
                sa.update(annotation_items)
                .where(table.annotation_id == annotation.id, table.item == sa.bindparam("at"))
                .values(prelabel=sa.bindparam("prelabel"), uncertainty=sa.bindparam("uncertainty"), rank=sa.bindparam("rank")),
                rows,
            )

    def label_errors(self, annotation: AnnotationProject, probabilities: Probabilities | None = None) -> LabelErrors:
        """Labels that are probably wrong (confident.py), of items that have one. probabilities: of a model that did not learn these
        labels, by the items' keys; None: those of the pre-labels. Raises UnsupportedFeature for other tasks than classification,
        InvalidValue when there are none."""
        if annotation.task != "classification":
            said = f"Label errors are found for the task 'classification'; {annotation.name!r} has {annotation.task!r}."
            raise UnsupportedFeature(said, param="task")
        names = annotation.settings.names
        chosen, given, chances = [], [], []
        for item in self.items.all(annotation):
            final = final_of(item, annotation.kind)
            own = item.prelabel.probabilities if item.prelabel is not None else None
            known = own if probabilities is None else probabilities.get(item.key)
            if final.value is None or known is None:
                continue
            if set(known) != set(names):
                where = f"probabilities.{item.key}"
                raise InvalidValue(f"{where} has not exactly the labels of the project.", param=where)
            chosen.append(item)
            given.append(names.index(final.value["label"]))
            chances.append([float(known[name]) for name in names])
        if not chosen:
            hint = "Run llmos annotate prelabel, or give probabilities of a model that did not learn these labels."
            raise InvalidValue("No item has both a label and a model's probabilities.", param="probabilities", hint=hint)
        found = find_label_errors(given, chances)
        errors = tuple(
            LabelError(
                item=chosen[one.place].item,
                key=chosen[one.place].key,
                given=names[one.given],
                suggested=names[one.suggested],
                margin=round(one.margin, 6),
                data=chosen[one.place].data,
            )
            for one in found.suspects
        )
        return LabelErrors(num_items=len(chosen), noise=round(found.noise, 6), errors=errors)
