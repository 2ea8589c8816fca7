"""Annotation projects as rows: made, listed, found, changed, removed. `project` None means whichever.

Who may see one is decided here, once: of another project of access it is not there, whatever is asked of it.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from llmos.access.projects import shown_text, utc_after
from llmos.data.annotate.base import AnnotationProject
from llmos.data.annotate.rows import dumped, loaded, project_from
from llmos.data.annotate.tasks import tasks
from llmos.data.annotate.tasks.base import checked_config
from llmos.errors import Conflict, InvalidValue, NotFound, did_you_mean
from llmos.infra.database import Database
from llmos.infra.tables import annotation_answers, annotation_items, annotation_projects

MAX_NAME = 128
FIXED = ("options",)  # of the configuration: what was said would mean something else

# `list` is a method below; inside the class its name means that.
ProjectList = list[AnnotationProject]


class ProjectStore:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, task: str, config: Mapping[str, Any], *, project: str, created_by: str) -> AnnotationProject:
        """Raises NotFound for an unknown task, InvalidValue naming the field, Conflict for a name that is taken."""
        if task not in tasks:
            raise NotFound(f"Unknown annotation task {task!r}.", param="task", hint=did_you_mean(task, tasks.names()))
        made = AnnotationProject(
            id=f"ann_{time.time_ns():016x}{secrets.token_hex(6)}",
            project=project,
            name=checked_name(name),
            task=task,
            config=checked_config(tasks.get(task), config).model_dump(mode="json"),
            version=1,
            num_items=0,
            created_by=created_by,
            created_at=utc_after(),
        )
        values = {name: getattr(made, name) for name in AnnotationProject.__slots__} | {"config": dumped(made.config)}
        try:
            with self.database.begin() as connection:
                connection.execute(sa.insert(annotation_projects).values(**values))
        except IntegrityError:
            raise Conflict(
                f"There is an annotation project {made.name!r} already.", param="name", hint="Choose another name."
            ) from None
        return made

    def list(self, project: str | None) -> ProjectList:
        """The newest first."""
        wanted = sa.select(annotation_projects).order_by(annotation_projects.c.id.desc())
        if project is not None:
            wanted = wanted.where(annotation_projects.c.project == project)
        with self.database.begin(read_only=True) as connection:
            return [project_from(row) for row in connection.execute(wanted)]

    def get(self, ref: str, project: str | None) -> AnnotationProject:
        """ref: id or name. Raises NotFound, and Conflict when several projects of access have one of that name."""
        with self.database.begin(read_only=True) as connection:
            return find(connection, ref, project)

    def update(
        self, ref: str, changes: Mapping[str, Any], *, project: str | None, name: str | None = None, version: int | None = None
    ) -> AnnotationProject:
        """Changes fields of the configuration; what is not named stays. version: Conflict when it is not the newest any more.
        Labels may be added, not taken away, once there are items."""
        with self.database.begin() as connection:
            before = find(connection, ref, project, hold=True)
            if version is not None and version != before.version:
                raise Conflict(f"The project was changed by somebody else: it is at version {before.version}.", param="version")
            config = checked_config(before.kind, {**before.config, **changes})
            _check_change(before, config.model_dump(mode="json"))
            values: dict[str, Any] = {"config": dumped(config.model_dump(mode="json")), "version": before.version + 1}
            if name is not None:
                values["name"] = checked_name(name)
            if (config.order, config.overlap) != (before.settings.order, before.settings.overlap):
                _hold_items(connection, before.id)
            if config.order != before.settings.order:
                rerank(connection, before.id, config.order)
            if config.overlap != before.settings.overlap:
                _reopen(connection, before, config.overlap)
            try:  # after the items: who saves holds an item and then wants the project, so nobody waits in a circle
                with connection.begin_nested():
                    connection.execute(sa.update(annotation_projects).where(annotation_projects.c.id == before.id).values(**values))
            except IntegrityError:
                raise Conflict(f"There is an annotation project {name!r} already.", param="name") from None
            return find(connection, before.id, project)

    def remove(self, ref: str, project: str | None) -> AnnotationProject:
        """With all its items, annotations and history. Raises NotFound."""
        with self.database.begin() as connection:
            found = find(connection, ref, project)
            connection.execute(sa.delete(annotation_projects).where(annotation_projects.c.id == found.id))
        return found


def checked_name(name: str) -> str:
    """A name that people read and that an address can have in it."""
    if "/" in name or name.strip() == "tasks":
        raise InvalidValue(f"{name!r} cannot be a name: it would be another address.", param="name", hint="Choose one without '/'.")
    return shown_text(name, "name", MAX_NAME)


def find(connection: sa.Connection, ref: str, project: str | None, *, hold: bool = False) -> AnnotationProject:
    """By id or name, in the caller's transaction. hold: nobody else changes it until that ends."""
    table = annotation_projects
    wanted = sa.select(table).where(sa.or_(table.c.id == ref, table.c.name == ref))
    if project is not None:
        wanted = wanted.where(table.c.project == project)
    if hold:
        wanted = wanted.with_for_update(key_share=True)
    found = connection.execute(wanted).all()
    exact = [row for row in found if row.id == ref] or found
    if len(exact) > 1:
        listed = ", ".join(f"{row.id} ({row.project})" for row in exact)
        raise Conflict(f"Several annotation projects are called {ref!r}: {listed}.", hint="Say the id.")
    if not exact:
        raise NotFound(f"There is no annotation project {ref!r}.", param="id")
    return project_from(exact[0])


def _hold_items(connection: sa.Connection, annotation_id: str) -> None:
    """All of them, in the order in which everybody takes several."""
    table = annotation_items.c
    wanted = sa.select(table.item).where(table.annotation_id == annotation_id).order_by(table.item)
    connection.execute(wanted.with_for_update()).all()


def rerank(connection: sa.Connection, annotation_id: str, order: str) -> None:
    """Puts all items into that order: as `rank_of` says, in SQL."""
    table = annotation_items.c
    rank: sa.ColumnElement[Any] = sa.literal(0.0)
    if order == "random":
        rank = sa.cast((sa.cast(table.item, sa.BigInteger) * 2654435761) % 2**32, sa.Float)
    if order == "uncertainty":
        rank = sa.case((table.uncertainty.is_(None), 1.0), else_=-table.uncertainty)
    connection.execute(sa.update(annotation_items).where(table.annotation_id == annotation_id).values(rank=rank))


def _reopen(connection: sa.Connection, annotation: AnnotationProject, overlap: int) -> None:
    """What is done under the new overlap, and where annotators differ then."""
    items, answers = annotation_items.c, annotation_answers.c
    state = sa.case((items.state == "adjudicated", "adjudicated"), (items.num_done >= overlap, "done"), else_="open")
    mine = items.annotation_id == annotation.id
    connection.execute(sa.update(annotation_items).where(mine).values(state=state, differs=0))
    done = sa.select(items.item).where(mine, items.num_done >= max(2, overlap))
    wanted = sa.select(answers.item, answers.value).where(
        answers.annotation_id == annotation.id, answers.value.is_not(None), answers.item.in_(done)
    )
    said = itertools.groupby(connection.execute(wanted.order_by(answers.item)), key=lambda row: row.item)
    differing = [{"at": item} for item, rows in said if annotation.kind.differ([loaded(row.value) for row in rows])]
    if differing:
        here = (mine, items.item == sa.bindparam("at"))
        connection.execute(sa.update(annotation_items).where(*here).values(differs=1), differing)


def _check_change(before: AnnotationProject, after: dict[str, Any]) -> None:
    if not before.num_items:
        return
    for field in FIXED:
        if before.config[field] != after[field]:
            raise InvalidValue(
                f"config.{field} cannot change once there are items: what was said would mean something else.",
                param=f"config.{field}",
                hint="Make a new project.",
            )
    gone = {label["name"] for label in before.config["labels"]} - {label["name"] for label in after["labels"]}
    if gone:
        said = f"The label {sorted(gone)[0]!r} cannot be taken away once there are items: annotations may have it."
        raise InvalidValue(said, param="config.labels", hint="Labels can be added.")
