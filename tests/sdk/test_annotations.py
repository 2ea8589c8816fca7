"""Annotation through the SDK: one suite, in process and over HTTP; pre-labels by a real model."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos import LLMOS, AsyncLLMOS, errors
from llmos.data.annotate.base import ItemState
from llmos.sdk.annotations import AnnotationHandle

TEXTS = ["What a lovely day, I am so happy!", "This is terrible, I hate it.", "Great work, thank you.", "Awful, never again."]


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def llmos(request: pytest.FixtureRequest, home: Path) -> Iterator[LLMOS]:
    url = None if request.param == "in process" else request.getfixturevalue("live_server")
    with LLMOS(url, home=home, notify=lambda _: None) as made:
        yield made


def new(llmos: LLMOS, task: str = "classification", **config: Any) -> AnnotationHandle:
    if task == "classification":
        config = {"labels": ["positive", "negative"]} | config
    return llmos.annotations.create(f"p {secrets.token_hex(4)}", task, **config)


def test_the_life_of_a_project(llmos: LLMOS, tmp_path: Path) -> None:
    project = new(llmos, overlap=2)
    report = project.add([{"body": text} for text in TEXTS] + [{"text": 1}], columns={"text": "body"})
    assert (report.num_added, report.num_problems, report.problems[0].row) == (4, 1, 5)
    assert project.record.num_items == 4
    for who in ("ann", "bob"):
        for item in project.next(4, annotator=who):
            label = "negative" if who == "bob" or item.item % 2 == 0 else "positive"
            project.save(item, {"label": label}, annotator=who, seconds=2)
    assert project.next(1, annotator="ann") == ()
    told = project.progress()
    assert (told.num_done, told.num_differing, told.num_annotations) == (4, 2, 8)
    assert project.agreement().identical == 0.5
    [first, second] = project.items(differs=True)
    assert [one.value for one in first.annotations] == [{"label": "positive"}, {"label": "negative"}]
    assert project.adjudicate(first, {"label": "positive"}).state == ItemState.ADJUDICATED
    assert [row["label"] for row in project.rows("rows")] == ["positive", "negative", "negative"]
    assert project.adjudicate(first, None).state == ItemState.DONE
    [back] = project.undo(annotator="bob")
    assert back.item == 4 and project.item(4).num_annotations == 1
    assert [one.action for one in project.history(4)] == ["save", "save", "undo"]
    project.skip(back, "not sure", annotator="bob")
    whole = list(project.rows())
    assert len(whole) == 4 and whole[0]["how"] == "differ" and whole[3]["annotations"][-1]["skipped"] == "not sure"
    path = project.export(tmp_path / "out.jsonl")
    copy = new(llmos, overlap=2)
    assert copy.add_file(path).num_annotations == 7
    assert [row["value"] for row in copy.rows()] == [row["value"] for row in whole]
    assert len(list(project.rows("label-studio"))) == 4
    assert second.item == 3


def test_names_changes_and_removal(llmos: LLMOS) -> None:
    project = new(llmos)
    assert llmos.annotations.get(project.name).id == project.id
    project.update(guidelines="# New", overlap=3)
    assert project.record.version == 2
    stale = llmos.annotations.get(project.id)
    project.update(overlap=2)
    with pytest.raises(errors.Conflict, match="version 3"):
        stale.update(overlap=5)
    assert project.id in [one.id for one in llmos.annotations.list()]
    project.remove()
    with pytest.raises(errors.NotFound):
        project.refresh()


def test_errors_are_the_same_classes(llmos: LLMOS) -> None:
    project = new(llmos, annotators=["ann"])
    project.add([{"text": "a"}])
    with pytest.raises(errors.NotAllowed):
        project.next(annotator="eve")
    with pytest.raises(errors.InvalidValue) as caught:
        project.save(1, {"label": "ugly"}, annotator="ann")
    assert caught.value.param == "value.label"
    project.save(1, {"label": "positive"}, annotator="ann")
    with pytest.raises(errors.Conflict):
        project.save(1, {"label": "negative"}, annotator="ann")
    [item] = [one for one in project.undo(annotator="ann") if one.item == 1]
    assert item.own is None
    with pytest.raises(errors.UnsupportedFeature):
        list(project.rows("conll"))


@pytest.mark.slow
def test_prelabels_suggest_and_order_but_do_not_count(llmos: LLMOS) -> None:
    project = new(llmos, order="uncertainty")
    project.add([{"id": str(place), "text": text} for place, text in enumerate(TEXTS)])
    result = project.prelabel("smollm2-135m-instruct", chunk=3).wait(timeout_s=180)
    assert (result["labelled"], result["empty"]) == (4, 0)
    told = project.progress()
    assert (told.num_prelabelled, told.num_annotations, told.num_open) == (4, 0, 4)
    items = project.next(4)
    unsure = [project.item(one).uncertainty or 0.0 for one in items]
    assert unsure == sorted(unsure, reverse=True)
    for one in items:
        assert one.prelabel is not None and one.prelabel.probabilities is not None
        assert one.own is None and sum(one.prelabel.probabilities.values()) == pytest.approx(1)
        project.save(one, one.prelabel.value)
    assert project.label_errors().num_items == 4
    assert project.prelabel("smollm2-135m-instruct").wait(timeout_s=180)["labelled"] == 0


@pytest.mark.slow
def test_a_text_is_drafted_by_a_model(llmos: LLMOS) -> None:
    """One that is too long for the model is left out, and told; the others of its chunk are not."""
    project = new(llmos, "text")
    project.add([{"text": "The capital of France is"}, {"text": "word " * 9000}])
    job = project.prelabel("smollm2-135m-instruct", max_tokens=8)
    assert job.wait(timeout_s=180)["empty"] == 1
    assert any("item 2 has no pre-label" in str(event.data) for event in job.events() if event.type == "log")
    [item] = project.next()
    assert item.prelabel is not None and item.prelabel.value["text"]


@pytest.mark.slow
def test_a_translation_is_drafted_by_a_model(llmos: LLMOS) -> None:
    project = new(llmos, "translation", options={"target_language": "en"})
    project.add([{"source": "Bonjour le monde."}])
    assert project.prelabel("smollm2-135m-instruct").wait(timeout_s=180)["labelled"] == 1
    [item] = project.next()
    assert item.prelabel is not None and item.prelabel.value["target"]


def test_what_no_model_labels_is_said(llmos: LLMOS) -> None:
    project = new(llmos, "rating")
    with pytest.raises(errors.JobFailed, match="do not pre-label"):
        project.prelabel("smollm2-135m-instruct").wait(timeout_s=60)


def test_awaited(home: Path) -> None:
    async def work() -> int:
        async with AsyncLLMOS(home=home) as llmos:
            project = await llmos.annotations.create(f"a {secrets.token_hex(4)}", "rating")
            await project.add([{"text": "a"}, {"text": "b"}])
            for item in await project.next(2):
                await project.save(item, {"rating": 4})
            assert len(await project.rows("rows")) == 2
            return (await project.progress()).num_done

    assert asyncio.run(work()) == 2
