"""Items on their way in, and as they are read: by reviewers, by exports, one by one.

Rows come in pieces of a thousand, each a transaction: a killed import goes on when it is run again, as what is there already is
known by its key. A row that is wrong is told with its number; the others come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from llmos.access.projects import utc_after
from llmos.data.annotate.base import AnnotationProject, Given, HistoryEntry, ImportReport, Item, ItemState, Numbered, Row, Said
from llmos.data.annotate.incoming import Incoming, Ready
from llmos.data.annotate.lookup import current, no_item
from llmos.data.annotate.rows import dumped, given_from, history_from, item_from, loaded
from llmos.errors import InvalidValue, LLMOSError, NotFound
from llmos.infra.database import Database
from llmos.infra.tables import annotation_answers, annotation_history, annotation_items, annotation_projects

PIECE = 1000
PAGE = 500
_BOUND = 500  # values in one IN (…)

# `list` is a method below; inside the class its name means that.
ItemList = list[Item]


class ItemStore:
    """Items of annotation projects that the caller has found already."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, annotation: AnnotationProject, rows: Iterable[Numbered]) -> ImportReport:
        """rows: each with its number in the input, from 1; one that could not be read stands there as its error. On disk when it
        returns. A key that is there with other data is a problem of that row; so is another answer of the same annotator, another
        suggestion or another decision at an item that is there."""
        incoming = Incoming(annotation)
        piece: list[tuple[int, Row]] = []
        for number, row in rows:
            if isinstance(row, LLMOSError):
                incoming.problem(number, row)
            else:
                piece.append((number, row))
            if len(piece) >= PIECE:
                self._put(incoming, piece)
                piece = []
        self._put(incoming, piece)
        return incoming.report

    def _put(self, incoming: Incoming, piece: list[tuple[int, Row]]) -> None:
        ready = list(incoming.checked(piece))
        if not ready:
            return
        table, of = annotation_projects, incoming.annotation.id
        with self.database.begin() as connection:
            held = sa.select(table.c.num_items).where(table.c.id == of).with_for_update(key_share=True)
            newest = connection.execute(held).scalar_one_or_none()
            if newest is None:
                raise NotFound(f"There is no annotation project {of!r}.", param="id")
            incoming.follow(current(connection, incoming.annotation))
            # Read while the project is held: what another import brings meanwhile is known, or comes after.
            known = _known(connection, of, [one.key for one in ready])
            items, more = [], []
            for row in ready:
                item, data = known.setdefault(row.key, (newest + 1, row.data))
                if item > newest:
                    newest = item
                    items.append(row)
                elif data == row.data or loaded(data) == loaded(row.data):
                    incoming.known += 1
                    more += [(item, row)] if row.brings else []
                else:
                    incoming.problem(row.number, InvalidValue(f"There is an item {row.key!r} with other data.", param="id"))
            _new(connection, incoming, items, newest)
            _join(connection, incoming, more)

    def get(self, annotation: AnnotationProject, item: int) -> Item:
        """With all that was said of it. Raises NotFound."""
        with self.database.begin(read_only=True) as connection:
            found = self._read(connection, annotation, annotation_items.c.item == item, limit=1)
        if not found:
            raise no_item(annotation, item)
        return found[0]

    def list(
        self,
        annotation: AnnotationProject,
        *,
        state: ItemState | None = None,
        differs: bool | None = None,
        after: int = 0,
        limit: int = PAGE,
    ) -> ItemList:
        """By number, those after `after`, with all that was said of them. differs: annotators gave different answers, also where a reviewer
        has decided."""
        wanted = [annotation_items.c.item > after]
        if state is not None:
            wanted.append(annotation_items.c.state == state.value)
        if differs is not None:
            wanted.append(annotation_items.c.differs == int(differs))
        with self.database.begin(read_only=True) as connection:
            return self._read(connection, annotation, *wanted, limit=limit)

    def all(self, annotation: AnnotationProject, **wanted: Any) -> Iterator[Item]:
        """As `list`, page by page, each as it is when it is read."""
        after = 0
        while page := self.list(annotation, after=after, **wanted):
            yield from page
            after = page[-1].item

    def history(self, annotation: AnnotationProject, *, item: int | None, after: int, limit: int) -> tuple[HistoryEntry, ...]:
        """In order, entries with a number over `after`."""
        table = annotation_history
        wanted = sa.select(table).where(table.c.annotation_id == annotation.id, table.c.number > after)
        if item is not None:
            wanted = wanted.where(table.c.item == item)
        with self.database.begin(read_only=True) as connection:
            return tuple(history_from(row) for row in connection.execute(wanted.order_by(table.c.number).limit(limit)))

    def _read(self, connection: sa.Connection, annotation: AnnotationProject, *wanted: Any, limit: int) -> ItemList:
        table = annotation_items
        query = sa.select(table).where(table.c.annotation_id == annotation.id, *wanted).order_by(table.c.item).limit(limit)
        rows = connection.execute(query).all()
        said = answers_of(connection, annotation.id, [row.item for row in rows])
        return [item_from(row, tuple(said.get(row.item, ()))) for row in rows]


def _new(connection: sa.Connection, incoming: Incoming, rows: list[Ready], newest: int) -> None:
    """Rows whose items are not there yet; the last of them gets the number `newest`."""
    of, now = incoming.annotation.id, utc_after()
    items, said, history = [], [], []
    for item, row in enumerate(rows, start=newest - len(rows) + 1):
        place = {"annotation_id": of, "item": item}
        values = [one.value for one in row.said if one.value is not None]
        state = incoming.state(values, row.adjudicated)
        items.append(
            {**place, "key": row.key, "data": row.data, "adjudicated": row.adjudicated, **state, **incoming.suggested(item, row)}
        )
        said += [{**place, **_answer(one, now)} for one in row.said]
        history += _imported(place, row.said, row.adjudicated, now)
        incoming.said += len(values)
    if items:
        table = annotation_projects
        connection.execute(sa.insert(annotation_items), items)
        connection.execute(sa.update(table).where(table.c.id == of).values(num_items=newest))
    incoming.added += len(items)
    _write(connection, said, history)


def _join(connection: sa.Connection, incoming: Incoming, rows: list[tuple[int, Ready]]) -> None:
    """What rows bring to items that are there."""
    of, table = incoming.annotation.id, annotation_items
    numbers = sorted({item for item, _ in rows})
    found: dict[int, Any] = {}
    for start in range(0, len(numbers), _BOUND):
        wanted = sa.select(table).where(table.c.annotation_id == of, table.c.item.in_(numbers[start : start + _BOUND]))
        held = wanted.order_by(table.c.item).with_for_update()
        found |= {row.item: dict(row._mapping) for row in connection.execute(held)}
    said = {
        item: {one.annotator: (one.value, one.skipped) for one in given}
        for item, given in answers_of(connection, of, numbers).items()
    }
    for item, row in rows:
        try:
            _join_one(connection, incoming, found[item], said.setdefault(item, {}), row)
        except InvalidValue as problem:
            incoming.problem(row.number, problem)


Answers = dict[str, tuple[dict[str, Any] | None, str | None]]  # annotator -> value, or why it was skipped


def _join_one(connection: sa.Connection, incoming: Incoming, item: dict[str, Any], said: Answers, row: Ready) -> None:
    """item: its columns; said: of it. Both are kept up to date. Raises InvalidValue, having joined nothing, where something else is
    there."""
    other = next(
        (one.annotator for one in row.said if said.get(one.annotator, (one.value, one.skipped)) != (one.value, one.skipped)), None
    )
    if other is not None:
        raise InvalidValue(f"{other!r} has said something else of the item {row.key!r}.", param="annotations")
    decided, suggested = item["adjudicated"] is None and row.adjudicated, item["prelabel"] is None and row.prelabel
    if row.adjudicated and not decided and loaded(row.adjudicated)["value"] != loaded(item["adjudicated"])["value"]:
        raise InvalidValue(f"The item {row.key!r} is decided otherwise.", param="adjudicated")
    if row.prelabel and not suggested and row.prelabel != item["prelabel"]:
        raise InvalidValue(f"The item {row.key!r} has another pre-label.", param="prelabel")
    place = {"annotation_id": item["annotation_id"], "item": item["item"]}
    fresh, now = [one for one in row.said if one.annotator not in said], utc_after()
    said.update({one.annotator: (one.value, one.skipped) for one in fresh})
    incoming.said += sum(one.value is not None for one in fresh)
    item["adjudicated"] = item["adjudicated"] or row.adjudicated
    values = [value for value, _ in said.values() if value is not None]
    changes = {"adjudicated": item["adjudicated"], **incoming.state(values, item["adjudicated"])}
    if suggested:
        changes |= incoming.suggested(item["item"], row)
    item |= changes
    table = annotation_items.c
    connection.execute(
        sa.update(annotation_items).where(*(table[name] == value for name, value in place.items())).values(**changes)
    )
    _write(
        connection,
        [{**place, **_answer(one, now)} for one in fresh],
        _imported(place, fresh, row.adjudicated if decided else None, now),
    )


def _write(connection: sa.Connection, answers: list[dict[str, Any]], history: list[dict[str, Any]]) -> None:
    for table, added in ((annotation_answers, answers), (annotation_history, history)):
        if added:
            connection.execute(sa.insert(table), added)


def _answer(one: Said, now: str) -> dict[str, Any]:
    """A row of what was said."""
    value = None if one.value is None else dumped(one.value)
    facts = {"skipped": one.skipped, "seconds": one.seconds, "version": 1, "source": "import", "created_at": now, "updated_at": now}
    return {"annotator": one.annotator, "value": value, **facts}


def _imported(place: dict[str, Any], said: Iterable[Said], adjudicated: str | None, now: str) -> list[dict[str, Any]]:
    """Lines of the history. A skip has its reason as the value."""
    rest = {**place, "at": now, "previous": None, "undone": 0}
    found = [
        {
            **rest,
            "annotator": one.annotator,
            "action": "import",
            "value": dumped(one.value or {"reason": one.skipped}),
            "seconds": one.seconds,
        }
        for one in said
    ]
    if adjudicated is not None:
        decided = loaded(adjudicated)
        found.append(
            {**rest, "annotator": decided["reviewer"], "action": "adjudicate", "value": dumped(decided["value"]), "seconds": 0.0}
        )
    return found


def _known(connection: sa.Connection, annotation_id: str, keys: list[str]) -> dict[str, tuple[int, str]]:
    """Those of the keys that are there, with the numbers of their items and their data."""
    table, found = annotation_items.c, {}
    for start in range(0, len(keys), _BOUND):
        wanted = sa.select(table.key, table.item, table.data).where(
            table.annotation_id == annotation_id, table.key.in_(keys[start : start + _BOUND])
        )
        found.update({row.key: (row.item, row.data) for row in connection.execute(wanted)})
    return found


def answers_of(connection: sa.Connection, annotation_id: str, items: list[int]) -> dict[int, list[Given]]:
    """What was said of these items, skips included, in the order of its coming."""
    table = annotation_answers.c
    found: dict[int, list[Given]] = {}
    for start in range(0, len(items), _BOUND):
        wanted = sa.select(annotation_answers).where(
            table.annotation_id == annotation_id, table.item.in_(items[start : start + _BOUND])
        )
        for row in connection.execute(wanted.order_by(table.item, table.created_at, table.annotator)):
            found.setdefault(row.item, []).append(given_from(row))
    return found
