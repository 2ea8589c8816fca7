"""Label Studio's JSON, in and out: tasks with annotations and predictions, and the XML that says what is asked.

Its results become values of our tasks by the task's own `from_studio`. Places in a text are counted there in UTF-16 units by some versions
and in characters by others; where a result brings the text of its region, that text decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from llmos.data.annotate.base import AnnotationProject, Given, Item, Numbered, Prelabel, Row
from llmos.data.annotate.exchange.records import json_document
from llmos.data.annotate.tasks import Task
from llmos.data.annotate.tasks.base import ProjectConfig
from llmos.errors import InvalidValue

MAX_XML = 1 << 20
_CONTROLS = {  # tag -> task; Choices decides by its `choice`
    "Labels": "spans",
    "Pairwise": "preference",
    "Rating": "rating",
}


def project_of(xml: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Task, configuration and renamed columns that a labelling configuration asks for. Raises InvalidValue when it is none, or asks
    for something else than our tasks."""
    root = _parsed(xml)
    shown = {node.get("name"): (node.tag, node.get("value", "")) for node in root.iter() if node.get("value", "").startswith("$")}
    for node in root.iter():
        target = shown.get(node.get("toName", "").split(",")[0])
        if target is None:
            continue
        name, config = _asked(node, target[0])
        if name:
            return name, config, _renamed(name, node, shown)
    hint = "Choices, Labels, Pairwise, Rating and TextArea over a Text or Paragraphs are read."
    raise InvalidValue("The labelling configuration asks for nothing that a task here does.", param="config", hint=hint)


def _parsed(xml: str) -> ElementTree.Element:
    if len(xml) > MAX_XML or "<!" in xml.replace("<!--", ""):
        raise InvalidValue("The labelling configuration is too long, or declares entities.", param="config")
    try:
        return ElementTree.fromstring(xml)  # noqa: S314 - no declarations, so nothing to expand
    except ElementTree.ParseError as problem:
        raise InvalidValue(f"The labelling configuration is no XML: {problem}.", param="config") from None


def _asked(node: ElementTree.Element, shown: str) -> tuple[str, dict[str, Any]]:
    """The task of a control tag, "" when it is none; and its configuration."""
    labels = [{"name": child.get("value"), "key": (child.get("hotkey") or "")[:1]} for child in node if child.get("value")]
    if node.tag == "Choices":
        several = node.get("choice", "single").startswith("multiple")
        name = "conversation" if shown == "Paragraphs" else "multilabel" if several else "classification"
        return name, {"labels": labels}
    if node.tag == "Rating":
        return "rating", {"options": {"lowest": 1, "highest": int(node.get("maxRating", "5"))}}
    if node.tag == "TextArea":
        return ("translation" if node.get("name") == "target" else "text"), {}
    name = _CONTROLS.get(node.tag, "")
    return name, {"labels": labels} if labels else {}


def _renamed(name: str, node: ElementTree.Element, shown: Mapping[str | None, tuple[str, str]]) -> dict[str, str]:
    """Our fields whose columns have another name there."""
    from llmos.data.annotate.tasks import tasks

    theirs = [shown[target][1].removeprefix("$") for target in node.get("toName", "").split(",") if target in shown]
    pairs = dict(zip(("a", "b"), theirs, strict=False)) if name == "preference" else {tasks.get(name).studio_field: theirs[0]}
    return {ours: column for ours, column in pairs.items() if ours != column}


def rows_of(tasks: Any, annotation: AnnotationProject, columns: Mapping[str, str] | None = None) -> Iterator[Numbered]:
    """Each task of an export with what was said of it, or its error."""
    if not isinstance(tasks, list):
        yield 1, InvalidValue("A Label Studio export is a list of tasks.", param="file")
        return
    for number, one in enumerate(tasks, start=1):
        try:
            yield number, _row(one, annotation.kind, columns or {})
        except InvalidValue as problem:
            yield number, problem
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            yield number, InvalidValue(f"Task {number} is not as Label Studio writes it: {type(problem).__name__} {problem}.")


def rows_of_file(path: Path, annotation: AnnotationProject, columns: Mapping[str, str] | None = None) -> Iterator[Numbered]:
    yield from rows_of(json_document(path), annotation, columns)


def _row(one: Any, task: Task, columns: Mapping[str, str]) -> Row:
    data = dict(one["data"])
    for ours, theirs in columns.items():
        if theirs not in data:
            raise InvalidValue(f"There is no column {theirs!r}.", param=theirs)
        data[ours] = data.pop(theirs)
    said = []
    for given in one.get("annotations", []):
        value = None if given.get("was_cancelled") else task.from_studio(_placed(given.get("result", []), data), data)
        if value is not None:
            said.append((_annotator(given.get("completed_by")), value))
    prelabel = None
    for prediction in one.get("predictions", []):
        value = task.from_studio(_placed(prediction.get("result", []), data), data)
        if value is not None:
            prelabel = Prelabel(value=value, model=str(prediction.get("model_version") or "label-studio"))
    key = one.get("id")
    return Row(data=data, key=None if key is None else str(key), prelabel=prelabel, annotations=tuple(said))


def _annotator(completed_by: Any) -> str:
    if isinstance(completed_by, Mapping):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return "label-studio" if completed_by is None else str(completed_by)


def _placed(result: Sequence[Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """With places of regions in characters. Raises InvalidValue for a region whose text is not there."""
    found = []
    for one in result:
        value = dict(one.get("value") or {})
        text, quoted = data.get("text"), value.get("text")
        if one.get("type") == "labels" and isinstance(text, str) and isinstance(quoted, str):
            start, end = int(value["start"]), int(value["end"])
            if text[start:end] != quoted:
                units = text.encode("utf-16-le")
                start = len(units[: 2 * start].decode("utf-16-le", "ignore"))
                end = len(units[: 2 * end].decode("utf-16-le", "ignore"))
            if text[start:end] != quoted:
                raise InvalidValue(f"The region {quoted[:40]!r} is not at {value['start']} to {value['end']} of its text.")
            value |= {"start": start, "end": end}
        found.append({**one, "value": value})
    return found


def config_of(annotation: AnnotationProject) -> str:
    """The labelling configuration for an export of this project."""
    config: ProjectConfig = annotation.settings
    return f"<View>{annotation.kind.studio_tags(config)}</View>"


def exported(annotation: AnnotationProject, item: Item) -> dict[str, Any]:
    """One item as a task; a reviewer's decision is an annotation with ground_truth."""
    task = annotation.kind
    made = [_given(task, item, given) for given in item.annotations]
    if item.adjudicated is not None:
        decided = {"completed_by": {"email": item.adjudicated.reviewer}, "ground_truth": True, "was_cancelled": False}
        made.append({**decided, "result": task.to_studio(item.adjudicated.value, item.data)})
    predictions = []
    if item.prelabel is not None:
        result = task.to_studio(item.prelabel.value, item.data)
        predictions.append({"model_version": item.prelabel.model, "result": result})
    return {
        "id": int(item.key) if item.key.isdecimal() and str(int(item.key)) == item.key else item.key,
        "data": item.data,
        "annotations": made,
        "predictions": predictions,
    }


def _given(task: Task, item: Item, given: Given) -> dict[str, Any]:
    facts = {
        "completed_by": {"email": given.annotator},
        "ground_truth": False,
        "was_cancelled": given.value is None,
        "lead_time": given.seconds,
        "created_at": given.created_at,
        "updated_at": given.updated_at,
    }
    return {**facts, "result": [] if given.value is None else task.to_studio(given.value, item.data)}


def document(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The rows as one JSON list, piece by piece."""
    yield "["
    for place, row in enumerate(rows):
        yield (",\n" if place else "\n") + json.dumps(row, ensure_ascii=False)
    yield "\n]\n"
