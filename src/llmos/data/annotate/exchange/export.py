"""A project as rows of data: everything that was said, or the final values in the shape that training and other tools read.

annotations   every item with all annotations, the pre-label, the final value and how it came about        any task
rows          the items that have a final value, with it in a column (label, labels, spans, rating, …)      any task
messages      {"messages": [...]} for supervised training                                                   all but spans and rating
preferences   {"prompt", "chosen", "rejected"}                                                              preference, text
label-studio  its JSON; label-studio-config: the XML that it wants beside it                                any task
conll         tokens and BIO tags                                                                           spans
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from llmos.data.annotate.base import AnnotationProject, Item
from llmos.data.annotate.exchange import conll, label_studio
from llmos.data.annotate.items import ItemStore
from llmos.data.annotate.review import final_of
from llmos.errors import InvalidValue, UnsupportedFeature, did_you_mean

FORMATS = ("annotations", "rows", "messages", "preferences", "label-studio", "label-studio-config", "conll")
MEDIA_TYPES = {
    "label-studio": "application/json",
    "label-studio-config": "application/xml",
    "conll": "text/plain; charset=utf-8",
}
Make = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any] | None]  # data and value -> row
SUFFIXES = {"label-studio": "json", "label-studio-config": "xml", "conll": "conll"}


def rows(items: ItemStore, annotation: AnnotationProject, format: str = "annotations") -> Iterator[dict[str, Any]]:
    """Row by row, in the order of the items. Items without a final value are in `annotations` and `label-studio` only. Raises
    InvalidValue for an unknown format, UnsupportedFeature for one that the task has no rows for, both before the first row; so does
    what CoNLL cannot hold, which all items are asked for first."""
    made = _maker(annotation, format)
    if format == "conll":
        for item in items.all(annotation):
            _asked(item, made)
    return (row for item in items.all(annotation) if (row := made(item)) is not None)


def text(items: ItemStore, annotation: AnnotationProject, format: str = "annotations") -> Iterator[str]:
    """The same as the text of a file, piece by piece; also label-studio-config, which has no rows."""
    if format == "label-studio-config":
        return iter([label_studio.config_of(annotation) + "\n"])
    made = rows(items, annotation, format)
    if format == "label-studio":
        return label_studio.document(made)
    if format == "conll":
        return (str(row["conll"]) for row in made)
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in made)


def _asked(item: Item, made: Callable[[Item], Any]) -> None:
    """Raises InvalidValue that names the item."""
    try:
        made(item)
    except InvalidValue as problem:
        raise InvalidValue(f"Item {item.item}: {problem.message}", param=problem.param, hint=problem.hint) from None


def _maker(annotation: AnnotationProject, format: str) -> Callable[[Item], dict[str, Any] | None]:
    if format not in FORMATS:
        raise InvalidValue(f"There is no format {format!r}.", param="format", hint=did_you_mean(format, list(FORMATS)))
    if format == "annotations":
        return lambda item: said(annotation, item)
    if format == "label-studio":
        return lambda item: label_studio.exported(annotation, item)
    if format == "rows":
        return _finals(annotation, annotation.kind.final)
    if format == "label-studio-config":
        raise UnsupportedFeature("A labelling configuration has no rows.", param="format", hint="Export it as a file.")
    shape = _SHAPES[format]
    if annotation.task not in shape:
        fitting = ", ".join(sorted(shape)) or "none"
        message = f"The task {annotation.task!r} cannot be exported as {format}."
        raise UnsupportedFeature(message, param="format", hint=f"Tasks that can: {fitting}.")
    return _finals(annotation, shape[annotation.task])


def _finals(annotation: AnnotationProject, make: Make) -> Callable[[Item], dict[str, Any] | None]:
    """What is made of items that have a final value."""
    task = annotation.kind

    def row(item: Item) -> dict[str, Any] | None:
        value = final_of(item, task).value
        return None if value is None else make(item.data, value)

    return row


def said(annotation: AnnotationProject, item: Item) -> dict[str, Any]:
    """All that is known of an item. Imported again it gives the same, but for times and versions, which are those of the import, and
    uncertainty, which is measured by the entropy."""
    final = final_of(item, annotation.kind)
    return {
        "id": item.key,
        "data": item.data,
        "annotations": msgspec.to_builtins(item.annotations),
        "prelabel": msgspec.to_builtins(item.prelabel),
        "adjudicated": msgspec.to_builtins(item.adjudicated),
        "value": final.value,
        "how": final.how,
        "state": item.state.value,
    }


def _turns(asked: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def _better(data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any] | None:
    """None for a tie: nothing is preferred."""
    if value["choice"] == "tie":
        return None
    other = "b" if value["choice"] == "a" else "a"
    asked = data["messages"] if data.get("messages") else data["prompt"]
    return {"prompt": asked, "chosen": data[value["choice"]], "rejected": data[other]}


def _better_turns(data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any] | None:
    pair = _better(data, value)
    if pair is None:
        return None
    asked = pair["prompt"] if isinstance(pair["prompt"], list) else [{"role": "user", "content": pair["prompt"]}]
    return {"messages": [*asked, {"role": "assistant", "content": pair["chosen"]}]}


def _corrected(data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any] | None:
    """The text as its annotator mended it is better than what it was; the same text is no pair."""
    if data["text"] == value["text"]:
        return None
    return {"prompt": str(data.get("prompt", "")), "chosen": value["text"], "rejected": data["text"]}


def _reviewed(data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    from llmos.data.annotate.tasks import tasks

    return {"messages": tasks.get("conversation").final(data, value)["messages"], "verdict": value["verdict"]}


_SHAPES: dict[str, dict[str, Make]] = {
    "messages": {
        "classification": lambda data, value: _turns(data["text"], value["label"]),
        "multilabel": lambda data, value: _turns(data["text"], ", ".join(value["labels"])),
        "preference": _better_turns,
        "text": lambda data, value: _turns(data["text"], value["text"]),
        "translation": lambda data, value: _turns(data["source"], value["target"]),
        "conversation": _reviewed,
    },
    "preferences": {"preference": _better, "text": _corrected},
    "conll": {"spans": lambda data, value: {"conll": conll.sentence_of(data, value)}},
}
