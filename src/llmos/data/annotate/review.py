"""A reviewer's decision where annotators differ, and the value that an item ends up with.

adjudicated    a reviewer has decided; what the annotators said stays as it was, beside it
agreed         the value more annotators gave than any other (tasks decide what that means: Task.agreed)
None           nobody said anything, or they differ and nobody has decided
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from llmos.access.projects import utc_after
from llmos.data.annotate.base import MAX_NOTE, Adjudicated, AnnotationProject, Item, ItemState, checked_annotator
from llmos.data.annotate.items import ItemStore
from llmos.data.annotate.lookup import at, current, locked, may_review
from llmos.data.annotate.rows import dumped, loaded
from llmos.data.annotate.tasks import Task
from llmos.data.annotate.tasks.base import checked_value
from llmos.errors import InvalidValue
from llmos.infra.database import Database
from llmos.infra.tables import annotation_history, annotation_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What an item ends up with, and how. of: how many annotators said something."""

    value: dict[str, Any] | None
    how: Literal["adjudicated", "agreed", "single", "differ", "none"]
    of: int


def final_of(item: Item, task: Task) -> Final:
    """The value of an item, by the rules above."""
    values = [given.value for given in item.annotations if given.value is not None]
    if item.adjudicated is not None:
        return Final(value=item.adjudicated.value, how="adjudicated", of=len(values))
    if not values:
        return Final(value=None, how="none", of=0)
    agreed = task.agreed(values)
    if agreed is None:
        return Final(value=None, how="differ", of=len(values))
    return Final(value=agreed, how="single" if len(values) == 1 else "agreed", of=len(values))


class Reviews:
    """Of all reviewers."""

    def __init__(self, database: Database, items: ItemStore) -> None:
        self.database, self.items = database, items

    def adjudicate(self, annotation: AnnotationProject, item: int, reviewer: str, value: Any, *, note: str = "") -> Item:
        """value None takes the decision back. On disk when it returns. Raises NotFound, InvalidValue naming the field, NotAllowed."""
        may_review(annotation, checked_annotator(reviewer))
        if len(note) > MAX_NOTE:
            raise InvalidValue(f"The note has {len(note)} characters; {MAX_NOTE} are possible.", param="note")
        with self.database.begin() as connection:
            row = locked(connection, annotation, item)
            annotation = current(connection, annotation)
            now, before = utc_after(), loaded(row.adjudicated)
            if value is None:
                done = row.num_done >= annotation.settings.overlap
                state, text = ItemState.DONE if done else ItemState.OPEN, None
            else:
                value = checked_value(annotation.kind, value, loaded(row.data), annotation.settings)
                decided = Adjudicated(value=value, reviewer=reviewer, at=now, note=note)
                state, text = ItemState.ADJUDICATED, dumped(msgspec.to_builtins(decided))
            here = at(annotation_items, annotation, item)
            connection.execute(sa.update(annotation_items).where(*here).values(adjudicated=text, state=state.value))
            connection.execute(
                sa.insert(annotation_history).values(
                    annotation_id=annotation.id,
                    item=item,
                    annotator=reviewer,
                    at=now,
                    action="adjudicate",
                    value=None if value is None else dumped(value),
                    previous=None if before is None else dumped(before),
                    seconds=0.0,
                    undone=0,
                )
            )
        return self.items.get(annotation, item)
