"""Every task: what it takes, what it refuses by name, what annotators agree on, and the way to Label Studio and back."""

from __future__ import annotations

from typing import Any

import pytest

from llmos.data.annotate.tasks import tasks
from llmos.data.annotate.tasks.base import checked_config, checked_item, checked_value
from llmos.errors import InvalidValue

LABELS: dict[str, Any] = {"labels": ["good", "bad"]}
TALK = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "3"}]
EMOJI = {"text": "😀 Ann lives in Paris"}  # the first character is two units of UTF-16

# task, configuration, item, value as given, value as kept
GOOD: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("classification", LABELS, {"text": "a", "more": 1}, {"label": "good"}, {"label": "good"}),
    ("multilabel", LABELS, {"text": "a"}, {"labels": ["good", "bad", "good"]}, {"labels": ["bad", "good"]}),
    ("multilabel", LABELS, {"text": "a"}, {"labels": []}, {"labels": []}),
    (
        "spans",
        LABELS,
        EMOJI,
        {"spans": [{"start": 15, "end": 20, "label": "bad"}, {"start": 2, "end": 5, "label": "good"}]},
        {"spans": [{"start": 2, "end": 5, "label": "good"}, {"start": 15, "end": 20, "label": "bad"}]},
    ),
    ("preference", {}, {"prompt": "q", "a": "1", "b": "2"}, {"choice": "b"}, {"choice": "b"}),
    ("preference", {"options": {"ties": True}}, {"messages": TALK, "a": "1", "b": "2"}, {"choice": "tie"}, {"choice": "tie"}),
    ("rating", {"options": {"highest": 7}}, {"text": "a"}, {"rating": 7}, {"rating": 7}),
    ("text", {}, {"text": "helo"}, {"text": "hello\nyou"}, {"text": "hello\nyou"}),
    ("translation", {}, {"source": "Hallo"}, {"target": "Hello"}, {"target": "Hello"}),
    (
        "conversation",
        LABELS,
        {"messages": TALK},
        {"verdict": "bad", "turns": [{"turn": 1, "label": "bad", "text": "2"}]},
        {"verdict": "bad", "turns": [{"turn": 1, "label": "bad", "text": "2"}]},
    ),
]


@pytest.mark.parametrize(("task", "config", "item", "value", "kept"), GOOD, ids=[one[0] for one in GOOD])
def test_values_are_kept_and_come_back_from_label_studio(
    task: str, config: dict[str, Any], item: dict[str, Any], value: dict[str, Any], kept: dict[str, Any]
) -> None:
    found = tasks.get(task)
    settings = checked_config(found, config)
    data = checked_item(found, item)
    assert data == item
    assert checked_value(found, value, data, settings) == kept
    there = found.to_studio(kept, data)
    back = found.from_studio(there, data)
    assert back is not None and checked_value(found, back, data, settings) == kept
    assert found.agreed([kept, kept]) == kept and not found.differ([kept, kept])
    assert found.final(data, kept).items() >= {name: one for name, one in data.items() if name in ("text", "source")}.items()


@pytest.mark.parametrize(
    ("task", "value", "param"),
    [
        ("classification", {"label": "ugly"}, "value.label"),
        ("classification", {}, "value.label"),
        ("classification", {"label": "good", "sure": 1}, "value.sure"),
        ("multilabel", {"labels": ["good", "ugly"]}, "value.labels[1]"),
        ("spans", {"spans": [{"start": 0, "end": 99, "label": "good"}]}, "value.spans[0].end"),
        ("spans", {"spans": [{"start": 3, "end": 3, "label": "good"}]}, "value.spans[0].start"),
        ("spans", {"spans": [{"start": 0, "end": 2, "label": "ugly"}]}, "value.spans[0].label"),
        ("spans", {"spans": [{"start": 0, "end": 2, "label": "good"}] * 2}, "value.spans[1]"),
        ("spans", {"spans": [{"start": 0, "end": 3, "label": "good"}, {"start": 2, "end": 4, "label": "bad"}]}, "value.spans"),
        ("spans", {"spans": [{"start": "x", "end": 3, "label": "good"}]}, "value.spans[0].start"),
        ("preference", {"choice": "tie"}, "value.choice"),
        ("preference", {"choice": "c"}, "value.choice"),
        ("rating", {"rating": 6}, "value.rating"),
        ("rating", {"rating": 2.5}, "value.rating"),
        ("text", {"text": ""}, "value.text"),
        ("translation", {"text": "x"}, "value.target"),
        ("translation", {"target": "x", "text": "x"}, "value.text"),
        ("conversation", {"verdict": "ugly"}, "value.verdict"),
        ("conversation", {"verdict": "good", "turns": [{"turn": 9, "label": "bad"}]}, "value.turns[0].turn"),
        ("conversation", {"verdict": "good", "turns": [{"turn": 1}]}, "value.turns[0]"),
        ("conversation", {"verdict": "good", "turns": [{"turn": 1, "label": "bad"}] * 2}, "value.turns[1].turn"),
    ],
)
def test_bad_values_name_the_field(task: str, value: dict[str, Any], param: str) -> None:
    found = tasks.get(task)
    items: dict[str, dict[str, Any]] = {
        "preference": {"prompt": "q", "a": "1", "b": "2"},
        "translation": {"source": "x"},
        "conversation": {"messages": TALK},
    }
    settings = checked_config(found, LABELS if found.needs_labels else {})
    with pytest.raises(InvalidValue) as caught:
        checked_value(found, value, items.get(task, EMOJI), settings)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("task", "item", "param"),
    [
        ("classification", {"txt": "a"}, "item.text"),
        ("classification", {"text": 7}, "item.text"),
        ("preference", {"a": "1", "b": "2"}, "item"),
        ("conversation", {"messages": []}, "item.messages"),
        ("conversation", {"messages": [{"content": "x"}]}, "item.messages[0].role"),
        ("translation", {"source": ""}, "item.source"),
    ],
)
def test_bad_items_name_the_field(task: str, item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        checked_item(tasks.get(task), item)
    assert caught.value.param == param


def test_what_annotators_agree_on() -> None:
    classes, ratings, spans = tasks.get("classification"), tasks.get("rating"), tasks.get("spans")
    assert classes.agreed([{"label": "a"}, {"label": "b"}, {"label": "a"}]) == {"label": "a"}
    assert classes.agreed([{"label": "a"}, {"label": "b"}]) is None and classes.agreed([]) is None
    assert ratings.agreed([{"rating": 1}, {"rating": 2}, {"rating": 5}]) == {"rating": 2}
    assert ratings.agreed([{"rating": 1}, {"rating": 2}]) is None
    one, two = {"start": 0, "end": 2, "label": "x"}, {"start": 3, "end": 4, "label": "y"}
    assert spans.agreed([{"spans": [one, two]}, {"spans": [one]}, {"spans": [one, two]}]) == {"spans": [one, two]}
    assert spans.agreed([{"spans": [one, two]}, {"spans": [one]}, {"spans": []}]) == {"spans": [one]}
    assert spans.agreed([{"spans": [one]}, {"spans": []}]) is None
    assert tasks.get("text").differ([{"text": "a  b"}, {"text": "a b"}]) is False
