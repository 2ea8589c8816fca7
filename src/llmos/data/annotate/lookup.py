"""Looking up and holding one item's rows inside of a transaction. Shared by who reserves, saves and decides."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from llmos.data.annotate.base import AnnotationProject, Given
from llmos.data.annotate.rows import given_from, project_from
from llmos.errors import NotAllowed, NotFound
from llmos.infra.tables import annotation_answers, annotation_items, annotation_projects


# Built once: a save waits for none of it to be put together again. Parameters: of (project), item, who.
def here(table: sa.Table) -> tuple[Any, Any]:
    """The condition for the rows of an item, by parameters."""
    return table.c.annotation_id == sa.bindparam("of"), table.c.item == sa.bindparam("at")


_ITEM = sa.select(annotation_items).where(*here(annotation_items)).with_for_update()
_VERSION = sa.select(annotation_projects.c.version).where(annotation_projects.c.id == sa.bindparam("of"))
_SAID = sa.select(annotation_answers).where(*here(annotation_answers), annotation_answers.c.annotator == sa.bindparam("who"))


def at(table: sa.Table, annotation: AnnotationProject, item: int) -> tuple[Any, Any]:
    """The condition for the rows of an item."""
    return table.c.annotation_id == annotation.id, table.c.item == item


def locked(connection: sa.Connection, annotation: AnnotationProject, item: int) -> Any:
    """The row of an item, held until the transaction ends. Raises NotFound."""
    row = connection.execute(_ITEM, {"of": annotation.id, "at": item}).one_or_none()
    if row is None:
        raise no_item(annotation, item)
    return row


def no_item(annotation: AnnotationProject, item: int) -> NotFound:
    return NotFound(f"There is no item {item} in {annotation.name!r}.", param="item")


def current(connection: sa.Connection, annotation: AnnotationProject) -> AnnotationProject:
    """The project as it is now: it was looked up in another transaction, and its overlap or labels may have changed since. Call it
    with the item or the project locked: who changes the overlap holds all of them, so one of the two sees what the other did."""
    table = annotation_projects
    if connection.execute(_VERSION, {"of": annotation.id}).scalar_one() == annotation.version:
        return annotation
    return project_from(connection.execute(sa.select(table).where(table.c.id == annotation.id)).one())


def said_by(connection: sa.Connection, annotation: AnnotationProject, item: int, annotator: str) -> Given | None:
    row = connection.execute(_SAID, {"of": annotation.id, "at": item, "who": annotator}).one_or_none()
    return None if row is None else given_from(row)


def may_annotate(annotation: AnnotationProject, annotator: str) -> None:
    """Raises NotAllowed for who is not on the project's list, when it has one."""
    if annotation.config["annotators"] and annotator not in annotation.config["annotators"]:
        raise NotAllowed(f"{annotator!r} is no annotator of {annotation.name!r}.", hint="Its owner can add the name to annotators.")


def may_review(annotation: AnnotationProject, reviewer: str) -> None:
    """Raises NotAllowed for who is not on the project's list, when it has one."""
    if annotation.config["reviewers"] and reviewer not in annotation.config["reviewers"]:
        raise NotAllowed(f"{reviewer!r} is no reviewer of {annotation.name!r}.", hint="Its owner can add the name to reviewers.")
