"""Other tools' data in and out, from real files in their formats; what is wrong is told with its place and the rest comes in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.data.annotate.exchange.label_studio import config_of, project_of
from llmos.data.annotate.service import Annotations
from llmos.errors import InvalidValue, UnsupportedFeature

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER

"""
STUDIO: list[dict[str, Any]] = [
    {
        "id": 11,
        "data": {"body": "😀 Ann lives in Paris"},
        "annotations": [
            {
                "completed_by": {"email": "ann@example.org"},
                "was_cancelled": False,
                "lead_time": 3.5,
                "result": [
                    {
                        "id": "x",
                        "from_name": "label",
                        "to_name": "text",
                        "type": "labels",
                        "value": {"start": 3, "end": 6, "text": "Ann", "labels": ["PER"]},  # in units of UTF-16
                    },
                    {"type": "labels", "value": {"start": 15, "end": 20, "text": "Paris", "labels": ["LOC"]}},  # in characters
                ],
            },
            {"completed_by": 7, "was_cancelled": True, "result": []},
        ],
        "predictions": [
            {"model_version": "v1", "result": [{"type": "labels", "value": {"start": 2, "end": 5, "labels": ["PER"]}}]}
        ],
    },
    {"id": 12, "data": {"body": "Nobody"}, "annotations": [{"completed_by": 7, "result": []}]},
    {
        "id": 13,
        "data": {"body": "x"},
        "annotations": [{"result": [{"type": "labels", "value": {"start": 0, "end": 1, "text": "y", "labels": ["PER"]}}]}],
    },
    {"id": 14, "annotations": []},
]
XML = """<View><!-- people --><Labels name="label" toName="text"><Label value="PER" hotkey="p"/><Label value="LOC"/></Labels>
<Text name="text" value="$body"/></View>"""


def new(notes: Annotations, task: str, **config: Any) -> str:
    return notes.create(f"of {task} {len(notes.projects.list(None))}", task, config).id


def test_conll_comes_back_as_it_was(notes: Annotations, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(CONLL)
    ref = new(notes, "spans", labels=["ORG", "MISC", "PER"])
    report = notes.add_file(ref, tmp_path / "a.conll", annotator="gold")
    assert (report.num_added, report.num_annotations, report.num_problems) == (2, 2, 0)
    assert notes.item(ref, 1).annotations[0].value == {
        "spans": [{"start": 0, "end": 2, "label": "ORG"}, {"start": 11, "end": 17, "label": "MISC"}]
    }
    assert notes.item(ref, 1).data["columns"] == [["NNP", "B-NP"], ["VBZ", "B-VP"], ["JJ", "B-NP"], ["NN", "I-NP"]]
    assert "".join(notes.text(ref, "conll")) == CONLL.partition("\n\n")[2]
    fewer = new(notes, "spans", labels=["ORG", "PER"])
    report = notes.add_file(fewer, tmp_path / "a.conll")
    assert [(one.row, one.param) for one in report.problems] == [(3, "value.spans[1].label")] and report.num_added == 1


def test_conll_of_text_that_never_was_conll(notes: Annotations) -> None:
    ref = new(notes, "spans", labels=["LOC"])
    notes.add(ref, [{"text": "我住在北京。Saarbrücken too!"}])
    notes.save(ref, 1, "ann", {"spans": [{"start": 3, "end": 5, "label": "LOC"}, {"start": 6, "end": 10, "label": "LOC"}]})
    assert "".join(notes.text(ref, "conll")).split("\n")[:9] == [
        "我 O", "住 O", "在 O", "北 B-LOC", "京 I-LOC", "。 O", "Saar B-LOC", "brücken O", "too O",
    ]  # fmt: skip


def test_label_studio_in_and_out(notes: Annotations, tmp_path: Path) -> None:
    task, config, columns = project_of(XML)
    assert (task, columns) == ("spans", {"text": "body"})
    ref = notes.create("people", task, config).id
    assert notes.get(ref).config["labels"][0]["key"] == "p"
    (tmp_path / "export.json").write_text(json.dumps(STUDIO))
    report = notes.add_file(ref, tmp_path / "export.json", columns=columns)
    assert (report.num_added, report.num_annotations, report.num_problems) == (2, 2, 2)
    assert [one.row for one in report.problems] == [3, 4] and "'y' is not at 0 to 1" in report.problems[0].message
    item = notes.item(ref, 1)
    skip, said = item.annotations
    assert (skip.annotator, skip.value, skip.skipped) == ("7", None, "cancelled in Label Studio")
    assert (said.annotator, said.source, said.seconds) == ("ann@example.org", "import", 3.5)
    expected = [{"start": 2, "end": 5, "label": "PER"}, {"start": 15, "end": 20, "label": "LOC"}]
    assert said.value == {"spans": expected}
    assert item.prelabel is not None and item.prelabel.model == "v1"
    out = json.loads("".join(notes.text(ref, "label-studio")))
    assert [one["id"] for one in out] == [11, 12] and out[0]["predictions"][0]["model_version"] == "v1"
    copy = notes.create("copy", *project_of(config_of(notes.get(ref)))[:2]).id
    (tmp_path / "again.json").write_text(json.dumps(out))
    assert notes.add_file(copy, tmp_path / "again.json").num_annotations == 2
    assert _plain(notes, copy) == _plain(notes, ref)


@pytest.mark.parametrize(
    ("task", "config"),
    [
        ("classification", {"labels": ["a<b", 'c"d']}),
        ("multilabel", {"labels": ["a", "b"]}),
        ("spans", {"labels": ["a"]}),
        ("preference", {}),
        ("rating", {"options": {"highest": 3}}),
        ("text", {}),
        ("translation", {}),
        ("conversation", {"labels": ["a", "b"]}),
    ],
)
def test_its_configuration_says_the_same_task(notes: Annotations, task: str, config: dict[str, Any]) -> None:
    found = notes.get(new(notes, task, **config))
    back, settings, columns = project_of(config_of(found))
    assert (back, columns) == (task, {})
    assert [label["name"] for label in settings.get("labels", [])] == config.get("labels", [])


@pytest.mark.parametrize(
    "xml", ["", "<View/>", "<View", '<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "<View><Choices/></View>"]
)
def test_a_bad_configuration_is_said(xml: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        project_of(xml)
    assert caught.value.param == "config"


def test_bad_files_are_told_by_line(notes: Annotations, tmp_path: Path) -> None:
    ref = new(notes, "text")
    lines = [
        b'{"text": "one"}',
        b"{broken",
        b"",
        b'{"text": "\xff"}',
        b'["list"]',
        b'{"text": "two", "id": "2"}',
        b'{"text": "\\ud800"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    report = notes.add_file(ref, tmp_path / "a.jsonl")
    assert report.num_added == 2 and [one.row for one in report.problems] == [2, 4, 5, 7]
    (tmp_path / "a.csv").write_text('id,text,lang\n7,"with, comma",de\n8,short\n9,"two\nlines",en\n')
    report = notes.add_file(ref, tmp_path / "a.csv")
    assert report.num_added == 2 and [one.row for one in report.problems] == [3]
    assert notes.item(ref, 4).data == {"text": "two\nlines", "lang": "en"} and notes.item(ref, 4).key == "9"
    (tmp_path / "long.jsonl").write_bytes(b'{"text": "' + b"x" * (9 << 20) + b'"}\n{"text": "after"}\n')
    report = notes.add_file(ref, tmp_path / "long.jsonl")
    assert report.num_added == 1 and "more than" in report.problems[0].message
    for name, text in (("a.json", "{"), ("b.json", "7"), ("c.txt", "x")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidValue):
            notes.add_file(ref, tmp_path / name)


def test_messages_and_preferences(notes: Annotations) -> None:
    pairs = new(notes, "preference", options={"ties": True})
    notes.add(
        pairs, [{"prompt": "q", "a": "1", "b": "2"}, {"prompt": "r", "a": "3", "b": "4"}, {"prompt": "s", "a": "5", "b": "6"}]
    )
    for item, choice in ((1, "b"), (2, "tie")):
        notes.save(pairs, item, "ann", {"choice": choice})
    assert list(notes.rows(pairs, "preferences")) == [{"prompt": "q", "chosen": "2", "rejected": "1"}]
    assert list(notes.rows(pairs, "messages")) == [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "2"}]}
    ]
    mended = new(notes, "text", options={"correction": True})
    notes.add(mended, [{"text": "helo", "prompt": "Say hello"}])
    notes.save(mended, 1, "ann", {"text": "hello"})
    assert list(notes.rows(mended, "preferences")) == [{"prompt": "Say hello", "chosen": "hello", "rejected": "helo"}]
    talks = new(notes, "conversation", labels=["ok", "wrong"])
    notes.add(talks, [{"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "3"}]}])
    notes.save(talks, 1, "ann", {"verdict": "wrong", "turns": [{"turn": 1, "text": "2"}]})
    assert list(notes.rows(talks, "messages")) == [
        {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}], "verdict": "wrong"}
    ]
    with pytest.raises(UnsupportedFeature, match="preference, text"):
        notes.rows(talks, "preferences")


def test_an_export_comes_in_again(notes: Annotations, tmp_path: Path) -> None:
    ref = new(notes, "classification", labels=["good", "bad"])
    record = {
        "data": {"text": "a"},
        "prelabel": {"value": {"label": "bad"}, "model": "m", "probabilities": {"good": 0.1, "bad": 0.9}},
    }
    notes.add(ref, [record, {"id": 5, "text": "b"}])
    notes.save(ref, 1, "ann", {"label": "good"})
    whole = list(notes.rows(ref))
    copy = new(notes, "classification", labels=["good", "bad"])
    assert notes.add(copy, whole).num_added == 2
    assert [one["value"] for one in whole] == [{"label": "good"}, None]
    assert _plain(notes, copy) == _plain(notes, ref)
    assert notes.progress(copy).num_annotations == 1


def _plain(notes: Annotations, ref: str) -> list[dict[str, Any]]:
    """All that was said, without the times and versions, which are those of the import; in the order of the annotators."""
    rows = list(notes.rows(ref))
    for row in rows:
        said = sorted(row["annotations"], key=lambda one: str(one["annotator"]))
        row["annotations"] = [{name: one[name] for name in ("annotator", "value", "skipped", "seconds")} for one in said]
    return rows
