"""Any number of labels for a text, also none: topics, properties, kinds of harm."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from llmos.data.annotate.tasks.base import ProjectConfig, Strict, Task, by_type, known_label, studio_result, tasks
from llmos.data.annotate.tasks.classification import TextItem, choices


class ChosenSeveral(Strict):
    labels: list[str] = Field(max_length=1000)

    @field_validator("labels")
    @classmethod
    def _each_once(cls, given: list[str]) -> list[str]:
        return sorted(set(given))


@tasks.register("multilabel")
class Multilabel(Task):
    name = "multilabel"
    about = "Any number of labels for a text."
    needs_labels = 1
    prelabels = "predict"
    Item = TextItem
    Value = ChosenSeveral

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:
        for place, label in enumerate(value.labels):
            known_label(label, config, f"value.labels[{place}]")

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return tuple(value["labels"])

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "labels": list(value["labels"])}

    def studio_tags(self, config: ProjectConfig) -> str:
        return choices(config, "multiple")

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [studio_result("choices", "label", "text", {"choices": list(value["labels"])})]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        found = by_type(result, "choices")
        return {"labels": [choice for value in found for choice in value.get("choices", [])]} if found else None
