"""What goes out comes in again whole, joins what is there, and is refused by name where a format, or an item, cannot take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.data.annotate.base import ItemState
from llmos.data.annotate.exchange.label_studio import config_of, project_of
from llmos.data.annotate.service import Annotations
from llmos.errors import InvalidValue

LABELS: dict[str, Any] = {"labels": ["good", "bad"], "overlap": 2}


def new(notes: Annotations, task: str = "classification", **config: Any) -> str:
    return notes.create(f"of {task} {len(notes.projects.list(None))}", task, config or LABELS).id


def plain(notes: Annotations, ref: str) -> list[dict[str, Any]]:
    """All that is known of the items, without the times and versions of what was said; in the order of the annotators."""
    rows = list(notes.rows(ref))
    for row, item in zip(rows, notes.list_items(ref), strict=True):
        said = sorted(row["annotations"], key=lambda one: str(one["annotator"]))
        row["annotations"] = [{name: one[name] for name in ("annotator", "value", "skipped", "seconds")} for one in said]
        row |= {"differs": item.differs, "uncertainty": item.uncertainty}
    return rows


def worked(notes: Annotations, project: str = "") -> str:
    """A project with everything in it: agreed, differing, decided, skipped, open, suggested."""
    ref = project or new(notes)
    chances = {"good": 0.3, "bad": 0.7}
    suggested = {"data": {"text": "a"}, "prelabel": {"value": {"label": "bad"}, "model": "m", "probabilities": chances}}
    notes.add(ref, [suggested, *({"id": f"k{number}", "text": f"text {number}"} for number in range(4))])
    for item, labels in ((1, ("good", "good")), (2, ("good", "bad")), (3, ("bad", "good")), (4, ("bad",))):
        for name, label in zip(("ann", "bob"), labels, strict=False):
            notes.save(ref, item, name, {"label": label}, seconds=1.5)
    notes.adjudicate(ref, 3, "ann", {"label": "bad"}, note="ironic")  # ann is a reviewer, too
    notes.skip(ref, 4, "cat", "not English", seconds=2)
    return ref


@pytest.mark.parametrize("format", ["annotations", "label-studio"])
def test_everything_comes_in_again(notes: Annotations, tmp_path: Path, format: str) -> None:
    ref = worked(notes)
    file = tmp_path / ("out.jsonl" if format == "annotations" else "out.json")
    file.write_text("".join(notes.text(ref, format)))
    copy = new(notes)
    report = notes.add_file(copy, file)
    assert (report.num_added, report.num_annotations, report.problems) == (5, 7, ())
    before, after = plain(notes, ref), plain(notes, copy)
    if format == "label-studio":  # it has no place for a model's probabilities
        assert before[0]["prelabel"].pop("probabilities") and after[0]["prelabel"].pop("probabilities") is None
    else:
        assert after[0]["uncertainty"] == pytest.approx(0.8813, abs=1e-4)  # - .3 log2 .3 - .7 log2 .7
    for row in (before[0], after[0]):
        row.pop("uncertainty")
    assert after == before
    assert notes.progress(copy).num_adjudicated == 1 and notes.progress(copy).num_skipped == 1
    assert [entry.action for entry in notes.history(copy, item=3)] == ["import", "import", "adjudicate"]
    again = notes.add_file(copy, file)
    assert (again.num_added, again.num_known, again.num_annotations, again.num_problems) == (0, 5, 0, 0)


def test_what_was_annotated_elsewhere_joins_the_items(notes: Annotations) -> None:
    """The same texts first, then the same with labels: nothing of them is lost, and nothing of before."""
    ref = new(notes)
    bare = [{"id": f"k{number}", "text": f"text {number}"} for number in range(3)]
    assert notes.add(ref, bare).num_added == 3
    notes.save(ref, 1, "ann", {"label": "good"})
    chances = {"good": 0.5, "bad": 0.5}
    labelled = [
        {"id": one["id"], "data": {"text": one["text"]}, "annotations": [{"annotator": "bob", "value": {"label": "bad"}}]}
        for one in bare
    ]
    labelled[1] |= {"prelabel": {"value": {"label": "bad"}, "model": "m", "probabilities": chances}}
    labelled[2] |= {"adjudicated": {"value": {"label": "good"}, "reviewer": "rev", "at": "2026-01-01", "note": "n"}}
    report = notes.add(ref, labelled)
    assert (report.num_added, report.num_known, report.num_annotations, report.num_problems) == (0, 3, 3, 0)
    items = notes.list_items(ref)
    assert [(one.state, one.num_annotations, one.differs) for one in items] == [
        (ItemState.DONE, 2, True),
        (ItemState.OPEN, 1, False),
        (ItemState.ADJUDICATED, 1, False),
    ]
    assert items[1].uncertainty == 1.0 and items[1].prelabel is not None and items[2].adjudicated is not None
    others: list[dict[str, Any]] = [
        labelled[0] | {"annotations": [{"annotator": "bob", "value": {"label": "good"}}]},
        labelled[1] | {"prelabel": {"value": {"label": "good"}, "model": "m"}},
        labelled[2] | {"adjudicated": {"value": {"label": "bad"}, "reviewer": "eve", "at": ""}},
    ]
    refused = notes.add(ref, others)
    assert [one.param for one in refused.problems] == ["annotations", "prelabel", "adjudicated"]
    assert notes.list_items(ref) == items and notes.add(ref, labelled).num_annotations == 0


@pytest.mark.parametrize(
    ("beside", "param"),
    [
        ({"annotations": 7}, "annotations"),
        ({"annotations": [7]}, "annotations[0]"),
        ({"annotations": [{"value": {"label": "good"}}]}, "annotations[0]"),
        ({"annotations": [{"annotator": "ann", "value": None}]}, "reason"),
        ({"annotations": [{"annotator": "ann", "value": {"label": "good"}, "seconds": -1}]}, "annotations"),
        ({"prelabel": 7}, "prelabel"),
        ({"prelabel": {"value": {"label": "good"}, "probabilities": 7}}, "prelabel"),
        ({"prelabel": {"value": {"label": "good"}, "probabilities": {"good": "high"}}}, "prelabel"),
        ({"prelabel": {"value": {"label": "good"}, "probabilities": {"good": 1.0}}}, "prelabel.probabilities"),
        ({"prelabel": {"value": {"label": "good"}, "probabilities": {"good": 2.0, "bad": -1.0}}}, "prelabel.probabilities"),
        ({"adjudicated": {"value": {"label": "ugly"}, "reviewer": "r", "at": ""}}, "adjudicated.label"),
        ({"adjudicated": {"value": {"label": "good"}}}, "adjudicated"),
    ],
)
def test_what_a_record_brings_is_checked(notes: Annotations, beside: dict[str, Any], param: str) -> None:
    ref = new(notes)
    report = notes.add(ref, [{"data": {"text": "a"}, **beside}, {"text": "b"}])
    assert report.num_added == 1 and [(one.row, one.param) for one in report.problems] == [(1, param)]


# -- Label Studio --------------------------------------------------------------------------------------------------------
def studio(notes: Annotations, ref: str, *results: Any, **more: Any) -> str:
    """The problem of a task with these results, "" when it came in."""
    task = {"data": {"text": "a"}, "annotations": [{"completed_by": 1, "result": list(results)}], **more}
    path = Path(str(notes.database.engine.url.database)).with_name("in.json")
    path.write_text(json.dumps([task]))
    report = notes.add_file(ref, path, "label-studio")
    return report.problems[0].message if report.problems else ""


def chose(*names: str, asked: str = "label") -> dict[str, Any]:
    return {"type": "choices", "from_name": asked, "value": {"choices": list(names)}}


def test_label_studio_gives_one_answer_or_an_error(notes: Annotations) -> None:
    ref = new(notes)
    assert "2 choices; one" in studio(notes, ref, chose("good", "bad"))
    assert "label and topic" in studio(notes, ref, chose("good"), chose("bad", asked="topic"))
    gold = {"completed_by": 1, "ground_truth": True, "result": [chose("good")]}
    assert "ground truth" in studio(notes, ref, annotations=[gold, gold])
    guess = {"result": [chose("good")], "model_version": "v1"}
    assert "2 predictions (v1, v1)" in studio(notes, ref, predictions=[guess, guess])
    assert studio(notes, ref, chose("good"), predictions=[guess]) == ""
    rating = new(notes, "rating", options={"highest": 5})
    star = {"type": "rating", "value": {"rating": 4}}
    assert "2 ratings" in studio(notes, rating, star, star) and studio(notes, rating, star) == ""
    pairs = new(notes, "preference", options={"ties": True})
    data = {"prompt": "q", "a": "1", "b": "2"}
    assert "value.choice" in studio(notes, pairs, {"type": "pairwise", "value": {"selected": "middle"}}, data=data)
    talks = new(notes, "conversation", labels=["ok", "wrong"])
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "3"}]
    over = {"type": "paragraphlabels", "value": {"start": "0", "end": "1", "paragraphlabels": ["wrong"]}}
    assert "from 0 to 1" in studio(notes, talks, chose("ok"), over, data={"messages": turns})


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ('<Choices name="a" toName="t"><Choice value="x"/><Choice value="y"/></Choices><Rating name="b" toName="t"/>', "a and b"),
        ('<Rating name="b" toName="t" maxRating="many"/>', "no number"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(controls: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        project_of(f'<View><Text name="t" value="$text"/>{controls}</View>')


def test_the_configuration_is_an_export_too(notes: Annotations) -> None:
    ref = new(notes, "conversation", labels=["ok", "wrong"])
    assert "".join(notes.text(ref, "label-studio-config")) == config_of(notes.get(ref)) + "\n"
    assert project_of(config_of(notes.get(ref)))[0] == "conversation"


# -- CoNLL ---------------------------------------------------------------------------------------------------------------
def conll(notes: Annotations, text: bytes | str, **config: Any) -> tuple[str, Any]:
    path = Path(str(notes.database.engine.url.database)).with_name("in.conll")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ref = new(notes, "spans", labels=["LOC"], **config)
    return ref, notes.add_file(ref, path)


def test_a_token_may_hold_a_no_break_space(notes: Annotations) -> None:
    text = "10\u00a0000\tO\nParis B-LOC\r\n\nRome\u3000Sud B-LOC\n\n"
    ref, _ = conll(notes, text)
    assert notes.item(ref, 1).data["tokens"] == ["10\u00a0000", "Paris"]
    assert "".join(notes.text(ref, "conll")) == text.replace("\t", " ").replace("\r", "")


def test_a_bad_line_costs_its_sentence_only(notes: Annotations) -> None:
    ref, report = conll(notes, b"a O\n\nb\xff O\nc O\n\nd X-\n\ne B-LOC")
    assert [(one.row, "UTF-8" in one.message) for one in report.problems] == [(3, True), (6, False)]
    assert [one.data["text"] for one in notes.list_items(ref)] == ["a", "e"]


def test_a_long_sentence_does_not_end_the_file(notes: Annotations) -> None:
    ref, report = conll(notes, "w O\n" * 100_001 + "\nend B-LOC\n")
    assert [one.row for one in report.problems] == [1] and "100,000" in report.problems[0].message
    assert [one.data["text"] for one in notes.list_items(ref)] == ["end"]


def test_every_span_is_written_or_refused(notes: Annotations) -> None:
    """Two spans of one label that touch stay two, also where the second begins with white space; none goes without a word."""
    ref = new(notes, "spans", labels=["LOC"])
    notes.add(ref, [{"text": "abc def"}, {"text": "a  b", "tokens": [1]}])
    notes.save(ref, 1, "ann", {"spans": [{"start": 0, "end": 3, "label": "LOC"}, {"start": 3, "end": 7, "label": "LOC"}]})
    assert "".join(notes.text(ref, "conll")) == "abc B-LOC\ndef B-LOC\n\n"
    notes.save(ref, 2, "ann", {"spans": [{"start": 1, "end": 3, "label": "LOC"}]})
    with pytest.raises(InvalidValue, match="Item 2: The span 1-3 is white space only"):
        notes.text(ref, "conll")  # before the first line
    both = new(notes, "spans", labels=["LOC", "a place"], options={"overlapping": True})
    notes.add(both, [{"text": "abc def"}])
    notes.save(both, 1, "ann", {"spans": [{"start": 0, "end": 3, "label": "LOC"}, {"start": 2, "end": 7, "label": "LOC"}]})
    with pytest.raises(InvalidValue, match=r"Item 1: .*overlap"):
        notes.text(both, "conll")


def test_two_columns_of_one_name_are_said(notes: Annotations, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,text\na,b\n")
    report = notes.add_file(new(notes), tmp_path / "a.csv")
    assert report.num_added == 0 and "called 'text'" in report.problems[0].message
