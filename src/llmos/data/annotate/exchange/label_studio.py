"""Label Studio's JSON, in and out: tasks with annotations and predictions, and the XML that says what is asked.

Its results become values of our tasks by the task's own `from_studio`. Places in a text are counted there in UTF-16 units by some versions
and in characters by others; where a result brings the text of its region, that text decides. An annotation that is ground truth is a
reviewer's decision here; one that was cancelled is a skip. What it has no place for, as the probabilities of a pre-label, is in
`annotations` only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from llmos.data.annotate.base import Adjudicated, AnnotationProject, Given, Item, Numbered, Prelabel, Row, Said
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
    asked = []
    for node in root.iter():
        target = shown.get(node.get("toName", "").split(",")[0])
        if target is not None and (found := _asked(node, target[0]))[0]:
            asked.append((node, *found))
    if not asked:
        hint = "Choices, Labels, Pairwise, Rating and TextArea over a Text or Paragraphs are read."
        raise InvalidValue("The labelling configuration asks for nothing that a task here does.", param="config", hint=hint)
    if len(asked) > 1:
        names = " and ".join(str(node.get("name")) for node, _, _ in asked)
        said = f"The labelling configuration asks for several things: {names}; a project here asks for one."
        raise InvalidValue(said, param="config", hint="Make a project for each, from a configuration with one of them.")
    node, name, config = asked[0]
    return name, config, _renamed(name, node, shown)


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
        highest = node.get("maxRating", "5")
        if not highest.isdecimal():
            raise InvalidValue(f"maxRating is {highest!r}, which is no number.", param="config")
        return "rating", {"options": {"lowest": 1, "highest": int(highest)}}
    if node.tag == "TextArea":
        conversation = shown == "Paragraphs"  # part of its review: better answers
        return "" if conversation else "translation" if node.get("name") == "target" else "text", {}
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
    said: list[Said] = []
    decided: list[Adjudicated] = []
    for given in one.get("annotations", []):
        who, seconds = _annotator(given.get("completed_by")), float(given.get("lead_time") or 0)
        value = None if given.get("was_cancelled") else task.from_studio(_placed(given.get("result", []), data), data)
        if given.get("was_cancelled"):
            said.append(Said(annotator=who, skipped=str(given.get("skipped") or "cancelled in Label Studio"), seconds=seconds))
        elif value is not None and given.get("ground_truth"):
            at = str(given.get("updated_at") or given.get("created_at") or "")
            decided.append(Adjudicated(value=value, reviewer=who, at=at, note=str(given.get("note") or "")))
        elif value is not None:
            said.append(Said(annotator=who, value=value, seconds=seconds))
    if len(decided) > 1:
        raise InvalidValue(f"{len(decided)} annotations of the task are ground truth; one can be.", param="annotations")
    key = one.get("id")
    return Row(
        data=data,
        key=None if key is None else str(key),
        prelabel=_prelabel(one.get("predictions", []), task, data),
        annotations=tuple(said),
        adjudicated=decided[0] if decided else None,
    )


def _prelabel(predictions: Sequence[Mapping[str, Any]], task: Task, data: Mapping[str, Any]) -> Prelabel | None:
    found = [(task.from_studio(_placed(one.get("result", []), data), data), one.get("model_version")) for one in predictions]
    made = [Prelabel(value=value, model=str(model or "label-studio")) for value, model in found if value is not None]
    if len(made) > 1:
        listed = ", ".join(one.model for one in made)
        hint = "Export those of one version of one model."
        raise InvalidValue(
            f"The task has {len(made)} predictions ({listed}); an item has one pre-label.", param="predictions", hint=hint
        )
    return made[0] if made else None


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
        decided = item.adjudicated
        facts = {
            "completed_by": {"email": decided.reviewer},
            "ground_truth": True,
            "was_cancelled": False,
            "updated_at": decided.at,
        }
        more = {"note": decided.note} if decided.note else {}
        made.append({**facts, **more, "result": task.to_studio(decided.value, item.data)})
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
    if given.value is None:
        return {**facts, "skipped": given.skipped, "result": []}
    return {**facts, "result": task.to_studio(given.value, item.data)}


def document(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The rows as one JSON list, piece by piece."""
    yield "["
    for place, row in enumerate(rows):
        yield (",\n" if place else "\n") + json.dumps(row, ensure_ascii=False)
    yield "\n]\n"
