"""Items on their way in, and as they are read: by reviewers, by exports, one by one.

Rows come in pieces of a thousand, each a transaction: a killed import goes on when it is run again, as what is there already is
known by its key. A row that is wrong is told with its number; the others come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from llmos.access.projects import utc_after
from llmos.data.annotate.base import (
    MAX_ANNOTATOR,
    MAX_KEY,
    MAX_PROBLEMS,
    AnnotationProject,
    Given,
    HistoryEntry,
    ImportReport,
    Item,
    ItemState,
    Numbered,
    Problem,
    Row,
    rank_of,
)
from llmos.data.annotate.rows import dumped, given_from, history_from, item_from, key_of
from llmos.data.annotate.tasks.base import Task, checked_item, checked_value
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
        returns. A key that is there with other data is a problem of that row."""
        adding = _Adding(annotation)
        piece: list[tuple[int, Row]] = []
        for number, row in rows:
            if isinstance(row, LLMOSError):
                adding.problem(number, row)
            else:
                piece.append((number, row))
            if len(piece) >= PIECE:
                self._put(adding, piece)
                piece = []
        self._put(adding, piece)
        return adding.report

    def _put(self, adding: _Adding, piece: list[tuple[int, Row]]) -> None:
        ready = list(adding.checked(piece))
        if not ready:
            return
        with self.database.begin() as connection:
            known = _known(connection, adding.annotation.id, [one["key"] for one, _, _ in ready])
            table = annotation_projects
            newest = connection.execute(
                sa.select(table.c.num_items).where(table.c.id == adding.annotation.id).with_for_update()
            ).scalar_one_or_none()
            if newest is None:
                raise NotFound(f"There is no annotation project {adding.annotation.id!r}.", param="id")
            items, said, newest = adding.placed(ready, known, newest)
            if items:
                connection.execute(sa.insert(annotation_items), items)
                connection.execute(sa.update(table).where(table.c.id == adding.annotation.id).values(num_items=newest))
            if said:
                connection.execute(sa.insert(annotation_answers), said)
                connection.execute(sa.insert(annotation_history), [_imported(one) for one in said])

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
        """By number, those after `after`, with all that was said of them. differs: and nobody has decided."""
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


class _Adding:
    """One import: what it has found so far."""

    def __init__(self, annotation: AnnotationProject) -> None:
        self.annotation = annotation
        self.task: Task = annotation.kind
        self.config = annotation.settings
        self.problems: list[Problem] = []
        self.added = self.known = self.said = self.wrong = 0

    @property
    def report(self) -> ImportReport:
        return ImportReport(
            num_added=self.added,
            num_known=self.known,
            num_annotations=self.said,
            num_problems=self.wrong,
            problems=tuple(sorted(self.problems, key=lambda one: one.row)),
        )

    def problem(self, number: int, error: LLMOSError) -> None:
        self.wrong += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(row=number, message=str(error), param=error.param))

    def checked(self, piece: list[tuple[int, Row]]) -> Iterator[tuple[dict[str, Any], list[tuple[str, dict[str, Any]]], int]]:
        """Of each good row the columns of its item, what was said of it, and the row's number."""
        for number, row in piece:
            try:
                data = checked_item(self.task, row.data)
                said = [
                    (checked_annotator(who), checked_value(self.task, value, data, self.config)) for who, value in row.annotations
                ]
                twice = next((who for who, _ in said if [one for one, _ in said].count(who) > 1), None)
                if twice is not None:
                    raise InvalidValue(f"The annotator {twice!r} annotates this item twice.", param="annotations")
                prelabel = None
                if row.prelabel is not None:
                    value = checked_value(self.task, row.prelabel.value, data, self.config, "prelabel")
                    prelabel = dumped({"value": value, "model": row.prelabel.model, "probabilities": row.prelabel.probabilities})
                key = row.key if row.key is not None else key_of(data)
                if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
                    raise InvalidValue(f"The id of an item must be 1 to {MAX_KEY} printable characters.", param="id")
            except LLMOSError as error:
                self.problem(number, error)
                continue
            yield {"key": key, "data": dumped(data), "prelabel": prelabel}, said, number

    def placed(self, ready: Any, known: dict[str, str], newest: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
        """Rows of items and of annotations; the number of the newest item."""
        items, said, now = [], [], utc_after()
        for columns, given, number in ready:
            if columns["key"] in known:
                if known[columns["key"]] == columns["data"]:
                    self.known += 1
                else:
                    self.problem(number, InvalidValue(f"There is an item {columns['key']!r} with other data.", param="id"))
                continue
            known[columns["key"]] = columns["data"]
            newest += 1
            place = {"annotation_id": self.annotation.id, "item": newest}
            values = [value for _, value in given]
            done = len(values) >= self.config.overlap
            items.append(
                {
                    **place,
                    **columns,
                    "state": (ItemState.DONE if done else ItemState.OPEN).value,
                    "num_done": len(values),
                    "differs": int(done and self.task.differ(values)),
                    "rank": rank_of(self.config.order, newest, None),
                }
            )
            said += [{**place, **_answer(who, value, now)} for who, value in given]
            self.added += 1
            self.said += len(given)
        return items, said, newest


def _answer(who: str, value: dict[str, Any], now: str) -> dict[str, Any]:
    times = {"created_at": now, "updated_at": now}
    return {"annotator": who, "value": dumped(value), "skipped": None, "seconds": 0.0, "version": 1, "source": "import", **times}


def _imported(answer: dict[str, Any]) -> dict[str, Any]:
    kept = {name: answer[name] for name in ("annotation_id", "item", "annotator", "value", "seconds")}
    return {**kept, "at": answer["created_at"], "action": "import", "previous": None, "undone": 0}


def _known(connection: sa.Connection, annotation_id: str, keys: list[str]) -> dict[str, str]:
    """Those of the keys that are there, with their data."""
    table, found = annotation_items.c, {}
    for start in range(0, len(keys), _BOUND):
        wanted = sa.select(table.key, table.data).where(
            table.annotation_id == annotation_id, table.key.in_(keys[start : start + _BOUND])
        )
        found.update({row.key: row.data for row in connection.execute(wanted)})
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


def no_item(annotation: AnnotationProject, item: int) -> NotFound:
    return NotFound(f"There is no item {item} in {annotation.name!r}.", param="item")


def checked_annotator(name: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_ANNOTATOR or not name.isprintable() or not name.strip():
        raise InvalidValue(f"The name of an annotator must be 1 to {MAX_ANNOTATOR} printable characters.", param="annotator")
    return name
