"""Uncertainty as its definition has it, and the list of label errors from pre-labels."""

from __future__ import annotations

import pytest

from llmos.data.annotate.base import Prelabel
from llmos.data.annotate.service import Annotations
from llmos.data.annotate.uncertainty import uncertainty
from llmos.errors import InvalidValue, UnsupportedFeature


def test_uncertainty() -> None:
    even, sure = {"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}
    for measure in ("entropy", "margin"):
        assert uncertainty(even, measure) == pytest.approx(1)
        assert uncertainty(sure, measure) == 0
    assert uncertainty({"a": 0.7, "b": 0.2, "c": 0.1}, "margin") == pytest.approx(0.5)
    assert uncertainty({"a": 0.5, "b": 0.5, "c": 0.0}) == pytest.approx(0.6309, abs=1e-4)  # ln 2 / ln 3
    assert uncertainty({"a": 0.5, "b": 1.0}, several=True) == pytest.approx(0.5)


def test_the_unsure_come_first_and_suggestions_do_not_count(notes: Annotations) -> None:
    ref = notes.create("p", "classification", {"labels": ["good", "bad"], "order": "uncertainty"}).id
    notes.add(ref, [{"text": str(number)} for number in range(5)])
    found = notes.get(ref)
    assert notes.prelabels.count(found, overwrite=False) == 5
    pending = notes.prelabels.pending(found, after=0, limit=3, overwrite=False)
    chances = {1: 0.9, 2: 0.5, 3: 0.7}
    made = [
        (item, data, Prelabel(value={"label": "good"}, model="m", probabilities={"good": chances[item], "bad": 1 - chances[item]}),
         uncertainty({"good": chances[item], "bad": 1 - chances[item]}))
        for item, data in pending
    ]  # fmt: skip
    notes.prelabels.put(found, made)
    notes.prelabels.put(found, made)  # an attempt that does a chunk again
    assert [one.item for one in notes.next(ref, "ann", 5)] == [2, 3, 1, 4, 5]  # those without a pre-label at the end
    told = notes.progress(ref)
    assert (told.num_prelabelled, told.num_annotations, told.num_done) == (3, 0, 0)
    assert list(notes.rows(ref, "rows")) == []
    assert notes.prelabels.count(found, overwrite=False) == 2 and notes.prelabels.count(found, overwrite=True) == 5
    assert [one.item for one in notes.next(ref, "ann", 5)] == [2, 3, 1, 4, 5]
    with pytest.raises(InvalidValue, match=r"prelabel\.label"):
        notes.prelabels.put(found, [(4, {"text": "3"}, Prelabel(value={"label": "ugly"}, model="m"), None)])


def test_label_errors_from_prelabels(notes: Annotations) -> None:
    ref = notes.create("p", "classification", {"labels": ["good", "bad"]}).id
    notes.add(ref, [{"id": f"k{number}", "text": str(number)} for number in range(8)])
    found = notes.get(ref)
    rows = []
    for item, data in notes.prelabels.pending(found, after=0, limit=8, overwrite=False):
        good = 0.9 if item % 2 else 0.1
        rows.append((item, data, Prelabel(value={"label": "good"}, model="m", probabilities={"good": good, "bad": 1 - good}), None))
        notes.save(ref, item, "ann", {"label": "bad" if not item % 2 or item == 7 else "good"})
    notes.prelabels.put(found, rows)
    report = notes.label_errors(ref)
    assert [(one.item, one.key, one.given, one.suggested) for one in report.errors] == [(7, "k6", "bad", "good")]
    assert report.num_items == 8 and report.errors[0].margin == pytest.approx(-0.8)
    with pytest.raises(InvalidValue, match="exactly the labels"):
        notes.label_errors(ref, {"k0": {"good": 1.0}})
    with pytest.raises(UnsupportedFeature):
        notes.label_errors(notes.create("r", "rating", {}).id)
