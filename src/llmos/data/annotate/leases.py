"""Reservations: which items come next for an annotator, and that nobody else gets the same place meanwhile.

    free places of an item = overlap - annotations - reservations of others that are not over        only > 0 is handed out

Who reserves holds the item's row (or SQLite's write lock) and counts again, so two annotators never get the same place. Who has said
something already and has the item again, to change it, is counted once. A page that was closed and opened again gets the items that
are reserved for its annotator already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from llmos.data.annotate.base import MAX_NEXT, AnnotationProject, Assigned, ItemState
from llmos.data.annotate.lookup import at, current, locked, may_annotate, said_by
from llmos.data.annotate.rows import assigned_from, given_from
from llmos.errors import InvalidValue
from llmos.infra.database import Database
from llmos.infra.tables import annotation_answers, annotation_items, annotation_leases

_TRIES = 8  # rounds in which others were quicker
_START = (float("-inf"), 0)

Cursor = tuple[float, int]  # rank and number of an item
Clock = Callable[[], float]


class Leases:
    """Of all annotators. clock: seconds since 1970."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self.database, self.clock = database, clock
        # Nothing before it was free for that annotator when last looked. A hint only: when nothing is found from it on, it is
        # looked for from the start (a lease that ran out, something taken back).
        self._cursors: dict[tuple[str, int, str], Cursor] = {}

    def next(self, annotation: AnnotationProject, annotator: str, count: int = 1) -> tuple[Assigned, ...]:
        """Items for this annotator, `count` at most, reserved: first those that are already, then new ones; none when there is
        nothing left to do. Raises NotAllowed for who is no annotator of the project."""
        may_annotate(annotation, annotator)
        if not 1 <= count <= MAX_NEXT:
            raise InvalidValue(f"count is {count}; 1 to {MAX_NEXT} are possible.", param="count")
        found = self._held(annotation, annotator, count)
        key = (annotation.id, annotation.version, annotator)
        known = (
            _START if annotation.config["order"] == "uncertainty" else self._cursors.get(key, _START)
        )  # models move items forward
        for start in dict.fromkeys((known, _START)):
            for _ in range(_TRIES):
                missing = count - len(found)
                if missing <= 0:
                    break
                free, last = self._free(annotation, annotator, missing, start)
                if not free:
                    break
                found += self.reserve(annotation, annotator, free)
                self._cursors[key] = last
        return tuple(found)

    def _held(self, annotation: AnnotationProject, annotator: str, count: int) -> list[Assigned]:
        """What is reserved for this annotator already: a page that was closed and opened again gets the same items. Those whose
        time is half over are reserved anew."""
        lease, items, answers = annotation_leases, annotation_items, annotation_answers
        now = self.clock()
        same = sa.and_(items.c.annotation_id == lease.c.annotation_id, items.c.item == lease.c.item)
        wanted = (
            sa.select(items, lease.c.until)
            .join(lease, same)
            .where(lease.c.annotation_id == annotation.id, lease.c.annotator == annotator, lease.c.until > now)
            .order_by(items.c.rank, items.c.item)
            .limit(count)
        )
        with self.database.begin(read_only=True) as connection:
            rows = connection.execute(wanted).all()
            if not rows:
                return []
            mine = sa.select(answers).where(
                answers.c.annotation_id == annotation.id,
                answers.c.annotator == annotator,
                answers.c.item.in_([row.item for row in rows]),
            )
            said = {row.item: given_from(row) for row in connection.execute(mine)}
        if any(row.until - now < annotation.settings.lease_s / 2 for row in rows):
            return self.reserve(annotation, annotator, [row.item for row in rows], anyhow=True)
        return [assigned_from(row, said.get(row.item), row.until) for row in rows]

    def _free(self, annotation: AnnotationProject, annotator: str, count: int, start: Cursor) -> tuple[list[int], Cursor]:
        """Open items with a place for this annotator from `start` on, and where the first of them is."""
        items, answers, lease = annotation_items.c, annotation_answers.c, annotation_leases.c
        here = (items.annotation_id == annotation.id, items.state == ItemState.OPEN.value)
        said = sa.exists().where(
            answers.annotation_id == items.annotation_id, answers.item == items.item, answers.annotator == annotator
        )
        mine = sa.exists().where(
            lease.annotation_id == items.annotation_id, lease.item == items.item, lease.annotator == annotator,
            lease.until > self.clock(),
        )  # fmt: skip
        wanted = (
            sa.select(items.item, items.rank)
            .where(*here, items.num_done + self._taken(annotator) < annotation.settings.overlap, ~said, ~mine)
            .order_by(items.rank, items.item)
            .limit(count)
        )
        if start != _START:
            wanted = wanted.where(sa.tuple_(items.rank, items.item) >= sa.tuple_(sa.literal(start[0]), sa.literal(start[1])))
        with self.database.begin(read_only=True) as connection:
            found = connection.execute(wanted).all()
        return [row.item for row in found], (found[0].rank, found[0].item) if found else start

    def _taken(self, annotator: str) -> Any:
        """Places of an item that are reserved for others, who have said nothing yet."""
        items, lease, answers = annotation_items.c, annotation_leases.c, annotation_answers.c
        said = sa.exists().where(
            answers.annotation_id == lease.annotation_id,
            answers.item == lease.item,
            answers.annotator == lease.annotator,
            answers.value.is_not(None),
        )
        return (
            sa.select(sa.func.count())
            .select_from(annotation_leases)
            .where(
                lease.annotation_id == items.annotation_id,
                lease.item == items.item,
                lease.annotator != annotator,
                lease.until > self.clock(),
                ~said,
            )
            .correlate(annotation_items)
            .scalar_subquery()
        )

    def reserve(self, annotation: AnnotationProject, annotator: str, places: list[int], *, anyhow: bool = False) -> list[Assigned]:
        """Those of the items that still have a place, reserved from now on. anyhow: the place is this annotator's already. A
        reservation outlives the process, not a power cut: then somebody else gets the item, which loses nothing."""
        made, until = [], self.clock() + annotation.settings.lease_s
        table, lease = annotation_items, annotation_leases
        with self.database.begin(durable=False) as connection:
            rows = {item: locked(connection, annotation, item) for item in sorted(places)}  # everybody in this order: no circle
            annotation = current(connection, annotation)
            for item in places:
                row, said = rows[item], said_by(connection, annotation, item, annotator)
                if not anyhow:
                    taken = connection.execute(
                        sa.select(self._taken(annotator)).select_from(table).where(*at(table, annotation, item))
                    ).scalar_one()
                    full = row.num_done + taken >= annotation.settings.overlap
                    if full or said is not None or row.state != ItemState.OPEN:
                        continue
                own = (*at(lease, annotation, item), lease.c.annotator == annotator)
                if not connection.execute(sa.update(lease).where(*own).values(until=until)).rowcount:
                    values = {"annotation_id": annotation.id, "item": item, "annotator": annotator, "until": until}
                    connection.execute(sa.insert(lease).values(**values))
                made.append(assigned_from(row, said, until))
        return made
