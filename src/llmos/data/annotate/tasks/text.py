"""A text in answer to a text: free (a summary, a reply), or the text itself, corrected."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field

from llmos.data.annotate.tasks.base import MAX_TEXT, ProjectConfig, Strict, Task, by_type, studio_result, tasks, the_one
from llmos.data.annotate.tasks.classification import TextItem


class Written(Strict):
    text: str = Field(min_length=1, max_length=MAX_TEXT)


class TextOptions(Strict):
    """correction: the annotator begins with the text of the item and mends it."""

    correction: bool = False


@tasks.register("text")
class FreeText(Task):
    name = "text"
    about = "A text of the annotator's own, or the item's text corrected."
    level = "none"
    prelabels = "generate"
    Options = TextOptions
    Item = TextItem
    Value = Written

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return " ".join(str(value["text"]).split())

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "answer": value["text"]}

    def studio_tags(self, config: ProjectConfig) -> str:
        return '<Text name="text" value="$text"/><TextArea name="answer" toName="text" rows="4" maxSubmissions="1"/>'

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [studio_result("textarea", "answer", "text", {"text": [value["text"]]})]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        written = studio_text(result)
        return {"text": written} if written else None


def studio_text(result: Sequence[Mapping[str, Any]]) -> str:
    """What was written into a TextArea; its lines are a list there."""
    found = the_one(by_type(result, "textarea"), "texts")
    text = found.get("text", "") if found is not None else ""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)
