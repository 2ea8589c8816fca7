"""One label for a text: sentiment, topic, spam or not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field

from llmos.data.annotate.tasks.base import (
    MAX_TEXT,
    Open,
    ProjectConfig,
    Strict,
    Task,
    by_type,
    known_label,
    quoted,
    studio_result,
    tasks,
    the_one,
)


class TextItem(Open):
    text: str = Field(min_length=1, max_length=MAX_TEXT)


class Chosen(Strict):
    label: str


@tasks.register("classification")
class Classification(Task):
    name = "classification"
    about = "One label for a text."
    needs_labels = 2
    prelabels = "predict"
    Item = TextItem
    Value = Chosen

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:
        known_label(value.label, config, "value.label")

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return str(value["label"])

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "label": value["label"]}

    def studio_tags(self, config: ProjectConfig) -> str:
        return choices(config, "single")

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [studio_result("choices", "label", "text", {"choices": [value["label"]]})]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        chosen = the_one([choice for value in by_type(result, "choices") for choice in value.get("choices", [])], "choices")
        return None if chosen is None else {"label": chosen}


def choices(config: ProjectConfig, how: str) -> str:
    listed = "".join(f"<Choice value={quoted(label.name)}/>" for label in config.labels)
    return f'<Text name="text" value="$text"/><Choices name="label" toName="text" choice="{how}">{listed}</Choices>'
