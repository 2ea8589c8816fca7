"""What two people, two windows or two changes of the configuration do at the same time loses nothing and counts nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmos.data.annotate.base import ItemState
from llmos.data.annotate.service import Annotations
from llmos.errors import Conflict
from llmos.infra.database import Database

LABELS: dict[str, Any] = {"labels": ["good", "bad"]}


@pytest.fixture
def notes(database: Database) -> Iterator[Annotations]:
    yield Annotations(database)


def made(notes: Annotations, num_items: int = 3, **config: Any) -> str:
    ref = notes.create("race", "classification", LABELS | config).id
    assert notes.add(ref, [{"text": f"text {number}"} for number in range(num_items)]).num_added == num_items
    return ref


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each gave, or its error, in the order of the calls; all begin together."""
    found: list[Any] = [None] * len(calls)
    begin = threading.Barrier(len(calls))

    def work(place: int) -> None:
        begin.wait()
        try:
            found[place] = calls[place]()
        except Exception as problem:
            found[place] = problem

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_save_counts_by_the_overlap_of_now(notes: Annotations) -> None:
    """The project was looked up before its overlap grew; the item must not be done with one annotation of two."""
    ref = made(notes)
    before = notes.get(ref)
    notes.projects.update(ref, {"overlap": 2, "labels": ["good", "bad", "mixed"]}, project=None)
    assert notes.work.save(before, 1, "ann", {"label": "mixed"}).state == ItemState.OPEN
    assert [one.item for one in notes.leases.reserve(before, "bob", [1])] == [1]
    assert notes.work.save(before, 1, "bob", {"label": "mixed"}).state == ItemState.DONE
    notes.adjudicate(ref, 2, "rev", {"label": "good"})
    notes.work.save(before, 2, "ann", {"label": "good"})
    assert notes.reviews.adjudicate(before, 2, "rev", None).state == ItemState.OPEN


def test_less_overlap_shows_where_annotators_differ(notes: Annotations) -> None:
    ref = made(notes, overlap=3)
    for name, label in (("ann", "good"), ("bob", "bad")):
        notes.save(ref, 1, name, {"label": label})
        notes.save(ref, 2, name, {"label": "good"})
    assert notes.progress(ref).num_differing == 0
    notes.projects.update(ref, {"overlap": 2}, project=None)
    assert [one.item for one in notes.list_items(ref, differs=True)] == [1]
    assert (notes.progress(ref).num_done, notes.progress(ref).num_differing) == (2, 1)
    notes.projects.update(ref, {"overlap": 3}, project=None)
    assert notes.list_items(ref, differs=True) == ()


def test_who_changes_an_answer_takes_no_second_place(notes: Annotations) -> None:
    ref = made(notes, num_items=1, overlap=2)
    notes.save(ref, 1, "ann", {"label": "good"})
    notes.save(ref, 1, "ann", {"label": "bad"}, version=1)
    [again] = notes.undo(ref, "ann")  # it is ann's to change, and counts once
    assert again.own is not None and again.own.value == {"label": "good"}
    assert [one.item for one in notes.next(ref, "bob")] == [1]
    assert notes.progress(ref).num_reserved == 2


def test_a_second_window_gets_no_item_that_the_first_has_saved(notes: Annotations) -> None:
    ref = made(notes, overlap=2)
    notes.save(ref, 1, "ann", {"label": "good"})
    assert notes.leases.reserve(notes.get(ref), "ann", [1, 2])[0].item == 2


def test_reservations_of_done_items_are_not_told(notes: Annotations) -> None:
    ref = made(notes)
    notes.next(ref, "ann")
    notes.save(ref, 1, "bob", {"label": "good"})
    assert notes.progress(ref).num_reserved == 0


def test_undo_gives_back_what_was_imported(notes: Annotations) -> None:
    ref = notes.create("imported", "classification", LABELS).id
    notes.add(ref, [{"data": {"text": "a"}, "annotations": [{"annotator": "ann", "value": {"label": "good"}}]}])
    notes.save(ref, 1, "ann", {"label": "bad"}, version=1)
    [again] = notes.undo(ref, "ann")
    assert again.own is not None
    assert (again.own.value, again.own.source, again.own.version) == ({"label": "good"}, "import", 3)
    assert notes.undo(ref, "ann") == ()


def test_undo_twice_at_once_takes_each_save_back_once(notes: Annotations) -> None:
    ref = made(notes)
    for item in (1, 2, 3):
        notes.save(ref, item, "ann", {"label": "good"})
    found = at_once(*[lambda: notes.undo(ref, "ann", 3)] * 4)
    assert sorted(one.item for back in found for one in back) == [1, 2, 3]
    assert [entry.action for entry in notes.history(ref)] == ["save"] * 3 + ["undo"] * 3


def test_two_changes_at_once_are_one_and_a_conflict(notes: Annotations) -> None:
    ref = made(notes)
    found = at_once(*(lambda n=n: notes.projects.update(ref, {"overlap": n}, project=None, version=1) for n in (2, 3, 4, 5)))
    assert sum(isinstance(one, Conflict) for one in found) == 3
    assert notes.get(ref).version == 2


def test_two_imports_at_once_bring_every_row_once(notes: Annotations) -> None:
    ref = notes.create("twice", "classification", LABELS).id
    rows = [{"id": str(number), "text": f"text {number}"} for number in range(300)]
    reports = at_once(*[lambda: notes.add(ref, rows)] * 4)
    assert sum(one.num_added for one in reports) == 300 and sum(one.num_known for one in reports) == 900
    assert notes.progress(ref).num_items == 300


def test_saves_undo_and_changes_of_the_overlap_together(notes: Annotations) -> None:
    """Nobody waits in a circle, and what is done in the end is what the last overlap says."""
    ref = made(notes, num_items=12)

    def work(name: str) -> None:
        for item in range(1, 13):
            notes.save(ref, item, name, {"label": "good" if item % 2 else "bad"})
            notes.next(ref, name, 5)
        notes.undo(ref, name, 6)

    def change() -> None:
        for overlap in (2, 3, 1, 2) * 3:
            notes.projects.update(ref, {"overlap": overlap}, project=None, name=f"race {overlap}")

    found = at_once(lambda: work("ann"), lambda: work("bob"), lambda: work("cat"), change)
    assert found == [None] * 4
    items = notes.list_items(ref, limit=50)
    assert [one.num_annotations for one in items] == [3] * 6 + [0] * 6
    assert [one.state for one in items] == [ItemState.DONE] * 6 + [ItemState.OPEN] * 6
