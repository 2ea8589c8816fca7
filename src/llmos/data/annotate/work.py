"""What annotators say: saved, skipped, taken back. One transaction each, on disk when it returns.

    save, skip   annotation, history, state of the item; the reservation goes
    undo         the annotator's own last savings, one by one; each item is as it was before, the history keeps both

A save is never refused for a reservation that ran out: what a person did is kept, also when the item then has more annotations than
it needs.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from llmos.access.projects import utc_after
from llmos.data.annotate.base import MAX_NEXT, AnnotationProject, Assigned, Given, ItemState, Saved, checked_reason
from llmos.data.annotate.leases import Leases
from llmos.data.annotate.lookup import at, current, here, locked, may_annotate, no_item, said_by
from llmos.data.annotate.rows import assigned_from, dumped, loaded
from llmos.data.annotate.tasks.base import checked_value
from llmos.errors import Conflict, InvalidValue
from llmos.infra.database import Database
from llmos.infra.tables import annotation_answers, annotation_history, annotation_items, annotation_leases

MAX_SECONDS = 86_400.0  # that one save can say it took

# Built once, as every save needs them.
_LEASE_OVER = sa.delete(annotation_leases).where(*here(annotation_leases), annotation_leases.c.annotator == sa.bindparam("who"))
_VALUES = sa.select(annotation_answers.c.value).where(*here(annotation_answers), annotation_answers.c.value.is_not(None))
_SETTLED = (
    sa.update(annotation_items)
    .where(*here(annotation_items))
    .values(state=sa.bindparam("after"), num_done=sa.bindparam("number"), differs=sa.bindparam("differing"))
)
_ANSWER, _ENTRY = sa.insert(annotation_answers), sa.insert(annotation_history)


class Work:
    """Of all annotators."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self.database, self.leases = database, leases

    def save(
        self,
        annotation: AnnotationProject,
        item: int,
        annotator: str,
        value: Any,
        *,
        version: int = 0,
        seconds: float = 0.0,
    ) -> Saved:
        """version: of what this annotator knows to have said before, 0 for nothing; Conflict when it is another one by now. The
        same save a second time (its answer was lost) gives what is there. Raises InvalidValue naming the field of the value."""
        return self._say(annotation, item, annotator, value, None, version=version, seconds=seconds)

    def skip(
        self, annotation: AnnotationProject, item: int, annotator: str, reason: str, *, version: int = 0, seconds: float = 0.0
    ) -> Saved:
        """The item goes to somebody else, with the reason kept. Raises as `save`."""
        return self._say(annotation, item, annotator, None, checked_reason(reason), version=version, seconds=seconds)

    def undo(self, annotation: AnnotationProject, annotator: str, count: int = 1) -> tuple[Assigned, ...]:
        """Takes back what this annotator did last; each item is as it was before, and reserved for the annotator again. Fewer than
        `count`, or none, when there is no more."""
        may_annotate(annotation, annotator)
        if not 1 <= count <= MAX_NEXT:
            raise InvalidValue(f"count is {count}; 1 to {MAX_NEXT} are possible.", param="count")
        table, now = annotation_history, utc_after()
        mine = (
            table.c.annotation_id == annotation.id,
            table.c.annotator == annotator,
            table.c.action.in_(("save", "skip")),
            table.c.undone == 0,
        )
        with self.database.begin() as connection:
            entries = connection.execute(sa.select(table).where(*mine).order_by(table.c.number.desc()).limit(count)).all()
            for item in sorted({entry.item for entry in entries}):  # everybody in this order, so that nobody waits in a circle
                locked(connection, annotation, item)
            annotation = current(connection, annotation)
            taken = [entry for entry in entries if self._take_back(connection, annotation, entry, now)]
        places = list(dict.fromkeys(entry.item for entry in taken))
        return tuple(self.leases.reserve(annotation, annotator, places, anyhow=True))

    def own(self, annotation: AnnotationProject, item: int, annotator: str) -> Assigned:
        """An item as this annotator sees it: with the own annotation only. Raises NotFound."""
        with self.database.begin(read_only=True) as connection:
            row = connection.execute(sa.select(annotation_items).where(*at(annotation_items, annotation, item))).one_or_none()
            if row is None:
                raise no_item(annotation, item)
            return assigned_from(row, said_by(connection, annotation, item, annotator), None)

    # -- saving ------------------------------------------------------------------------------------------------------
    def _say(
        self,
        annotation: AnnotationProject,
        item: int,
        annotator: str,
        value: Any,
        skipped: str | None,
        *,
        version: int,
        seconds: float,
    ) -> Saved:
        may_annotate(annotation, annotator)
        if not 0 <= seconds <= MAX_SECONDS:
            raise InvalidValue(f"seconds is {seconds}; 0 to {MAX_SECONDS:g} are possible.", param="seconds")
        with self.database.begin() as connection:
            row = locked(connection, annotation, item)
            annotation = current(connection, annotation)
            if skipped is None:
                value = checked_value(annotation.kind, value, loaded(row.data), annotation.settings)
            before = said_by(connection, annotation, item, annotator)
            found = before.version if before is not None else 0
            if version != found:
                if before is not None and found == version + 1 and (before.value, before.skipped) == (value, skipped):
                    return Saved(annotation=before, state=ItemState(row.state))
                said = f"Item {item} is at version {found} for {annotator!r}, not {version}: it was saved elsewhere."
                raise Conflict(said, param="version", hint="Read it again.")
            given = _made(before, item=item, annotator=annotator, value=value, skipped=skipped, seconds=seconds)
            self._write(connection, annotation, given, before)
            _note(connection, annotation, given, before, seconds)
            connection.execute(_LEASE_OVER, {"of": annotation.id, "at": item, "who": annotator})
            return Saved(annotation=given, state=self._settle(connection, annotation, item, row.state))

    def _write(self, connection: sa.Connection, annotation: AnnotationProject, given: Given, before: Given | None) -> None:
        """The row of an annotation."""
        table = annotation_answers
        columns = {name: getattr(given, name) for name in Given.__slots__}
        columns["value"] = None if given.value is None else dumped(given.value)
        if before is None:
            connection.execute(_ANSWER, {"annotation_id": annotation.id, **columns})
        else:
            mine = (*at(table, annotation, given.item), table.c.annotator == given.annotator)
            connection.execute(sa.update(table).where(*mine).values(**columns))

    def _take_back(self, connection: sa.Connection, annotation: AnnotationProject, entry: Any, now: str) -> bool:
        """One entry of the history, in the caller's transaction. False: another request has taken it back meanwhile."""
        table, answers = annotation_history, annotation_answers
        done = sa.update(table).where(table.c.number == entry.number, table.c.undone == 0).values(undone=1)
        if not connection.execute(done).rowcount:
            return False
        before = said_by(connection, annotation, entry.item, entry.annotator)
        previous = loaded(entry.previous)
        mine = (*at(answers, annotation, entry.item), answers.c.annotator == entry.annotator)
        if previous is None:
            connection.execute(sa.delete(answers).where(*mine))
        else:
            value = None if previous["value"] is None else dumped(previous["value"])
            version = (before.version if before is not None else 0) + 1
            kept = {name: previous[name] for name in ("skipped", "seconds")} | {"source": previous.get("source", "human")}
            connection.execute(sa.update(answers).where(*mine).values(value=value, version=version, updated_at=now, **kept))
        after = said_by(connection, annotation, entry.item, entry.annotator)
        connection.execute(
            sa.insert(table).values(
                annotation_id=annotation.id,
                item=entry.item,
                annotator=entry.annotator,
                at=now,
                action="undo",
                value=None if after is None or after.value is None else dumped(after.value),
                previous=_previous(before),
                seconds=0.0,
                undone=0,
            )
        )
        row = connection.execute(sa.select(annotation_items.c.state).where(*at(annotation_items, annotation, entry.item))).one()
        self._settle(connection, annotation, entry.item, row.state)
        return True

    def _settle(self, connection: sa.Connection, annotation: AnnotationProject, item: int, state: str) -> ItemState:
        """The item's state, after what its annotators say has changed."""
        place = {"of": annotation.id, "at": item}
        values = [loaded(text) for text in connection.execute(_VALUES, place).scalars()]
        done = len(values) >= annotation.settings.overlap
        after = ItemState.ADJUDICATED if state == ItemState.ADJUDICATED else ItemState.DONE if done else ItemState.OPEN
        differs = int(done and annotation.kind.differ(values))
        connection.execute(_SETTLED, place | {"after": after.value, "number": len(values), "differing": differs})
        return after


def _made(before: Given | None, *, item: int, annotator: str, value: Any, skipped: str | None, seconds: float) -> Given:
    now = utc_after()
    return Given(
        item=item,
        annotator=annotator,
        value=value,
        skipped=skipped,
        seconds=round(seconds + (before.seconds if before is not None else 0.0), 3),
        version=1 if before is None else before.version + 1,
        source="human",
        created_at=now if before is None else before.created_at,
        updated_at=now,
    )


def _previous(before: Given | None) -> str | None:
    if before is None:
        return None
    return dumped({"value": before.value, "skipped": before.skipped, "seconds": before.seconds, "source": before.source})


def _note(connection: sa.Connection, annotation: AnnotationProject, given: Given, before: Given | None, seconds: float) -> None:
    """A line of the history. A skip has its reason as the value."""
    said = given.value if given.value is not None else {"reason": given.skipped}
    connection.execute(
        _ENTRY,
        {
            "annotation_id": annotation.id,
            "item": given.item,
            "annotator": given.annotator,
            "at": given.updated_at,
            "action": "skip" if given.value is None else "save",
            "value": dumped(said),
            "previous": _previous(before),
            "seconds": seconds,
            "undone": 0,
        },
    )
