"""A translation, written or mended from a draft (post-editing). The draft is the item's `target`, or the pre-label of a model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field

from llmos.data.annotate.tasks.base import MAX_TEXT, Open, ProjectConfig, Strict, Task, studio_result, tasks
from llmos.data.annotate.tasks.text import studio_text


class SourceItem(Open):
    """target: a draft, when there is one."""

    source: str = Field(min_length=1, max_length=MAX_TEXT)
    target: str = Field("", max_length=MAX_TEXT)


class Translated(Strict):
    target: str = Field(min_length=1, max_length=MAX_TEXT)


class Languages(Strict):
    """As codes or names ("fr", "French"); needed for pre-labels by a model."""

    source_language: str = Field("", max_length=64)
    target_language: str = Field("", max_length=64)


@tasks.register("translation")
class Translation(Task):
    name = "translation"
    about = "A translation, written or post-edited."
    level = "none"
    prelabels = "translate"
    Options = Languages
    Item = SourceItem
    Value = Translated
    studio_field = "source"

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return " ".join(str(value["target"]).split())

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        draft = {"draft": data["target"]} if data.get("target") else {}
        return {**data, **draft, "target": value["target"]}

    def studio_tags(self, config: ProjectConfig) -> str:
        return (
            '<Text name="source" value="$source"/>'
            '<TextArea name="target" toName="source" value="$target" rows="4" maxSubmissions="1" editable="true"/>'
        )

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [studio_result("textarea", "target", "source", {"text": [value["target"]]})]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        written = studio_text(result)
        return {"target": written} if written else None
