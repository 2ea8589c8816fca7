"""Annotation projects on SQLite and PostgreSQL: work, reservations, undo, review, figures, tenancy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from llmos.data.annotate.base import ItemState
from llmos.data.annotate.service import Annotations
from llmos.errors import Conflict, InvalidValue, NotAllowed, NotFound
from llmos.infra.database import Database

SENTIMENT: dict[str, Any] = {"labels": ["good", "bad"], "guidelines": "# Be fair", "lease_s": 60}
TEXTS = [{"id": f"t{number}", "text": f"Text number {number}"} for number in range(1, 7)]


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notes(database: Database, clock: Clock) -> Iterator[Annotations]:
    yield Annotations(database, clock)


def made(notes: Annotations, name: str = "sentiment", **config: Any) -> str:
    found = notes.create(name, "classification", SENTIMENT | config)
    report = notes.add(found.id, TEXTS)
    assert (report.num_added, report.num_problems) == (6, 0)
    return found.id


def test_the_life_of_a_project(notes: Annotations) -> None:
    ref = made(notes)
    assert notes.get("sentiment").id == ref
    assert [label["key"] for label in notes.get(ref).config["labels"]] == ["1", "2"]
    with pytest.raises(Conflict, match="already"):
        notes.create("sentiment", "classification", SENTIMENT)
    changed = notes.projects.update(ref, {"guidelines": "New"}, project=None, version=1)
    assert (changed.version, changed.config["guidelines"], changed.config["lease_s"]) == (2, "New", 60)
    with pytest.raises(Conflict, match="version 2"):
        notes.projects.update(ref, {"guidelines": "Late"}, project=None, version=1)
    with pytest.raises(InvalidValue, match="taken away"):
        notes.projects.update(ref, {"labels": ["good"] * 1 + ["worse"]}, project=None)
    assert notes.projects.update(ref, {"labels": ["good", "bad", "mixed"]}, project=None).settings.names[-1] == "mixed"
    [item] = notes.next(ref, "ann")
    notes.save(ref, item.item, "ann", {"label": "good"})
    notes.projects.remove(ref, None)
    with pytest.raises(NotFound):
        notes.get(ref)
    assert made(notes) != ref  # nothing of it is left in the way


@pytest.mark.parametrize(
    ("task", "config", "param"),
    [
        ("clasification", {}, "task"),
        ("classification", {"labels": ["one"]}, "config.labels"),
        ("classification", {"labels": ["a", "a"]}, "config.labels"),
        ("classification", {"labels": ["a", "b"], "overlap": 0}, "config.overlap"),
        ("classification", {"labels": ["a", "b"], "ovrlap": 2}, "config.ovrlap"),
        ("classification", {"labels": [{"name": "a", "key": "xy"}, "b"]}, "config.labels[0].key"),
        ("rating", {"options": {"lowest": 5, "highest": 1}}, "config.options"),
        ("rating", {"options": {"low": 5}}, "config.options.low"),
    ],
)
def test_bad_projects_name_the_field(notes: Annotations, task: str, config: dict[str, Any], param: str) -> None:
    with pytest.raises((InvalidValue, NotFound)) as caught:
        notes.create("x", task, config)
    assert caught.value.param == param


def test_import_keeps_what_is_good_and_names_what_is_not(notes: Annotations) -> None:
    ref = made(notes)
    rows: list[Any] = [
        {"id": "t1", "text": "Text number 1"},
        {"id": "t2", "text": "other"},
        {"text": ""},
        7,
        {"id": 9, "text": "new", "x": 1},
    ]
    report = notes.add(ref, rows)
    assert (report.num_added, report.num_known, report.num_problems) == (1, 1, 3)
    assert [(one.row, one.param) for one in report.problems] == [(2, "id"), (3, "item.text"), (4, "item")]
    assert notes.item(ref, 7).data == {"text": "new", "x": 1} and notes.item(ref, 7).key == "9"


def test_next_reserves_and_nobody_else_gets_the_place(notes: Annotations, clock: Clock) -> None:
    ref = made(notes)
    first = [one.item for one in notes.next(ref, "ann", 2)]
    assert first == [1, 2]
    assert [one.item for one in notes.next(ref, "ann", 2)] == [1, 2]  # a page that is opened again
    assert [one.item for one in notes.next(ref, "bob", 2)] == [3, 4]
    assert [one.item for one in notes.next(ref, "cat", 5)] == [5, 6]
    assert notes.next(ref, "dan") == ()
    clock.now += 61
    assert [one.item for one in notes.next(ref, "dan", 3)] == [1, 2, 3]
    # what ann was at is not lost though her time was over: the item then has one more than it needs
    notes.save(ref, 1, "dan", {"label": "good"})
    notes.save(ref, 1, "ann", {"label": "bad"})
    item = notes.item(ref, 1)
    assert (item.num_annotations, item.differs, item.state) == (2, True, ItemState.DONE)


def test_overlap_asks_several_annotators_once_each(notes: Annotations) -> None:
    ref = made(notes, overlap=2)
    for name in ("ann", "bob"):
        while found := notes.next(ref, name, 2):
            for one in found:
                assert one.own is None
                notes.save(ref, one.item, name, {"label": "good" if one.item % 2 or name == "ann" else "bad"}, seconds=1.5)
    assert notes.next(ref, "cat") == ()
    told = notes.progress(ref)
    assert (told.num_done, told.num_open, told.num_differing, told.num_annotations) == (6, 0, 3, 12)
    assert [(one.annotator, one.num_annotations, one.seconds) for one in told.annotators] == [("ann", 6, 9.0), ("bob", 6, 9.0)]
    agreed = notes.agreement(ref)
    assert (agreed.num_items, agreed.identical) == (6, 0.5)
    assert agreed.pairs[0].annotators == ("ann", "bob") and agreed.pairs[0].cohen_kappa == 0.0
    assert agreed.alpha["nominal"] == pytest.approx(1 - 11 * 6 / (2 * 9 * 3))
    assert agreed.fleiss_kappa == pytest.approx((0.5 - 0.625) / (1 - 0.625))


def test_many_at_once_get_every_place_once(notes: Annotations) -> None:
    ref = notes.create("race", "classification", SENTIMENT | {"overlap": 2}).id
    notes.add(ref, [{"text": f"text {number}"} for number in range(40)])
    errors: list[BaseException] = []

    def annotate(name: str) -> None:
        try:
            while found := notes.next(ref, name, 3):
                for one in found:
                    notes.save(ref, one.item, name, {"label": "good"})
        except BaseException as problem:
            errors.append(problem)

    threads = [threading.Thread(target=annotate, args=(name,)) for name in ("ann", "bob", "cat", "dan")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    told = notes.progress(ref)
    assert (told.num_done, told.num_annotations) == (40, 80)


def test_versions_guard_against_double_saves(notes: Annotations) -> None:
    ref = made(notes)
    [item] = notes.next(ref, "ann")
    first = notes.save(ref, item.item, "ann", {"label": "good"}, seconds=2)
    assert (first.annotation.version, first.state) == (1, ItemState.DONE)
    again = notes.save(ref, item.item, "ann", {"label": "good"}, seconds=2)  # its answer was lost
    assert again.annotation == first.annotation and len(notes.history(ref)) == 1
    with pytest.raises(Conflict, match="version 1"):
        notes.save(ref, item.item, "ann", {"label": "bad"})
    changed = notes.save(ref, item.item, "ann", {"label": "bad"}, version=1, seconds=1)
    assert (changed.annotation.version, changed.annotation.seconds) == (2, 3.0)
    assert [(one.action, one.value, one.previous and one.previous["value"]) for one in notes.history(ref)] == [
        ("save", {"label": "good"}, None),
        ("save", {"label": "bad"}, {"label": "good"}),
    ]
    assert notes.own(ref, item.item, "ann").own == changed.annotation
    assert notes.own(ref, item.item, "bob").own is None


def test_undo_takes_back_one_by_one_and_history_keeps_it(notes: Annotations) -> None:
    ref = made(notes)
    one, two = notes.next(ref, "ann", 2)
    notes.save(ref, one.item, "ann", {"label": "good"})
    notes.save(ref, one.item, "ann", {"label": "bad"}, version=1)
    notes.skip(ref, two.item, "ann", "not English")
    assert notes.next(ref, "ann", 1)[0].item == 3  # skipped ones do not come again
    [back] = notes.undo(ref, "ann")
    assert (back.item, back.own) == (2, None)
    assert notes.item(ref, 2).state == ItemState.OPEN
    [back] = notes.undo(ref, "ann")
    assert back.item == 1 and back.own is not None and back.own.value == {"label": "good"}
    [back] = notes.undo(ref, "ann")
    assert (back.item, back.own) == (1, None)
    assert notes.undo(ref, "ann") == ()
    assert (notes.item(ref, 1).state, notes.item(ref, 1).num_annotations) == (ItemState.OPEN, 0)
    actions = [(entry.action, entry.undone) for entry in notes.history(ref)]
    assert actions == [("save", True), ("save", True), ("skip", True), ("undo", False), ("undo", False), ("undo", False)]
    assert notes.history(ref)[2].value == {"reason": "not English"}
    assert [one.item for one in notes.next(ref, "ann", 2)] == [1, 2]


def test_a_skipped_item_goes_to_somebody_else(notes: Annotations) -> None:
    ref = made(notes)
    notes.next(ref, "ann")
    notes.skip(ref, 1, "ann", "unreadable", seconds=4)
    assert notes.next(ref, "bob")[0].item == 1
    told = notes.progress(ref)
    assert (told.num_skipped, told.num_open, told.annotators[0].num_skipped) == (1, 6, 1)
    with pytest.raises(InvalidValue, match="why"):
        notes.skip(ref, 2, "ann", " ")


def test_a_reviewer_decides_and_the_originals_stay(notes: Annotations) -> None:
    ref = made(notes, overlap=2, reviewers=["rev"])
    for name, label in (("ann", "good"), ("bob", "bad")):
        notes.next(ref, name)
        notes.save(ref, 1, name, {"label": label})
    [differing] = notes.list_items(ref, differs=True, state=ItemState.DONE)
    assert [given.value for given in differing.annotations] == [{"label": "good"}, {"label": "bad"}]
    with pytest.raises(NotAllowed, match="no reviewer"):
        notes.adjudicate(ref, 1, "ann", {"label": "good"})
    decided = notes.adjudicate(ref, 1, "rev", {"label": "good"}, note="ironic")
    assert decided.state == ItemState.ADJUDICATED and decided.adjudicated is not None
    assert (decided.adjudicated.value, decided.adjudicated.note) == ({"label": "good"}, "ironic")
    assert [given.value for given in decided.annotations] == [{"label": "good"}, {"label": "bad"}]
    assert notes.progress(ref).num_differing == 0
    [row] = notes.rows(ref, "rows")
    assert row == {"text": "Text number 1", "label": "good"}
    assert notes.adjudicate(ref, 1, "rev", None).state == ItemState.DONE
    assert [entry.action for entry in notes.history(ref, item=1)] == ["save", "save", "adjudicate", "adjudicate"]
    assert list(notes.rows(ref, "rows")) == []


def test_only_who_is_on_the_list_annotates(notes: Annotations) -> None:
    ref = made(notes, annotators=["ann"])
    assert notes.next(ref, "ann")
    for call in (
        lambda: notes.next(ref, "eve"),
        lambda: notes.save(ref, 1, "eve", {"label": "good"}),
        lambda: notes.undo(ref, "eve"),
    ):
        with pytest.raises(NotAllowed, match="eve"):
            call()


def test_no_project_sees_another(notes: Annotations) -> None:
    red = notes.create("secret", "classification", SENTIMENT, project="red")
    blue = notes.create("secret", "classification", SENTIMENT, project="blue")
    assert notes.get("secret", "red").id == red.id and notes.get("secret", "blue").id == blue.id
    with pytest.raises(Conflict, match="Several"):
        notes.get("secret")
    with pytest.raises(NotFound) as there:
        notes.get(red.id, "blue")
    with pytest.raises(NotFound) as nowhere:
        notes.get("ann_0", "blue")
    assert str(there.value).replace(red.id, "ann_0") == str(nowhere.value)
    assert [one.id for one in notes.projects.list("blue")] == [blue.id]


def test_orders(notes: Annotations) -> None:
    ref = made(notes, order="random")
    shuffled = [one.item for one in notes.next(ref, "ann", 6)]
    assert sorted(shuffled) == [1, 2, 3, 4, 5, 6] and shuffled != [1, 2, 3, 4, 5, 6]
    other = made(notes, "another", order="random")
    assert [one.item for one in notes.next(other, "ann", 6)] == shuffled
    notes.projects.update(other, {"order": "imported"}, project=None)
    assert [one.item for one in notes.next(other, "ann", 6)] == [1, 2, 3, 4, 5, 6]
    notes.projects.update(other, {"order": "random"}, project=None)
    assert [one.item for one in notes.next(other, "ann", 6)] == shuffled


def test_more_overlap_opens_items_again(notes: Annotations) -> None:
    ref = made(notes)
    notes.next(ref, "ann")
    notes.save(ref, 1, "ann", {"label": "good"})
    notes.projects.update(ref, {"overlap": 2}, project=None)
    assert notes.progress(ref).num_open == 6
    assert notes.next(ref, "bob")[0].item == 1


@pytest.mark.parametrize(
    ("call", "param"),
    [
        (lambda notes, ref: notes.next(ref, "ann", 0), "count"),
        (lambda notes, ref: notes.next(ref, "", 1), "annotator"),
        (lambda notes, ref: notes.next(ref, "a\nb", 1), "annotator"),
        (lambda notes, ref: notes.save(ref, 1, "ann", {"label": "ugly"}), "value.label"),
        (lambda notes, ref: notes.save(ref, 1, "ann", {"lable": "good"}), "value.label"),
        (lambda notes, ref: notes.save(ref, 1, "ann", "good"), "value"),
        (lambda notes, ref: notes.save(ref, 99, "ann", {"label": "good"}), "item"),
        (lambda notes, ref: notes.save(ref, 1, "ann", {"label": "good"}, seconds=-1), "seconds"),
        (lambda notes, ref: notes.adjudicate(ref, 1, "rev", {"label": "ugly"}), "value.label"),
        (lambda notes, ref: notes.list_items(ref, limit=0), "limit"),
        (lambda notes, ref: list(notes.rows(ref, "xml")), "format"),
        (lambda notes, ref: notes.label_errors(ref), "probabilities"),
    ],
)
def test_bad_calls_name_the_field(notes: Annotations, call: Any, param: str) -> None:
    with pytest.raises((InvalidValue, NotFound)) as caught:
        call(notes, made(notes))
    assert caught.value.param == param
