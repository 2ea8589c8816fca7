"""A number on a scale for a text or an answer: quality, fluency, harm."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from llmos.data.annotate.tasks.base import ProjectConfig, Strict, Task, by_type, studio_result, tasks, the_one
from llmos.data.annotate.tasks.classification import TextItem
from llmos.errors import InvalidValue


class Rated(Strict):
    rating: int


class Scale(Strict):
    """From lowest to highest, whole numbers."""

    lowest: int = Field(1, ge=-1000, le=1000)
    highest: int = Field(5, ge=-1000, le=1000)

    @model_validator(mode="after")
    def _up(self) -> Scale:
        if self.highest <= self.lowest:
            raise ValueError("highest must be more than lowest")
        return self


@tasks.register("rating")
class Rating(Task):
    name = "rating"
    about = "A number on a scale."
    level = "ordinal"
    Options = Scale
    Item = TextItem
    Value = Rated

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:
        scale = self.options(config)
        if not scale.lowest <= value.rating <= scale.highest:
            said = f"value.rating is {value.rating}; the scale goes from {scale.lowest} to {scale.highest}."
            raise InvalidValue(said, param="value.rating")

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return int(value["rating"])

    def agreed(self, values: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The middle one of an odd number, or of an even number when the two in the middle are the same."""
        ordered = sorted(int(value["rating"]) for value in values)
        if not ordered:
            return None
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return {"rating": low} if low == high else None

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "rating": value["rating"]}

    def studio_tags(self, config: ProjectConfig) -> str:
        return f'<Text name="text" value="$text"/><Rating name="rating" toName="text" maxRating="{self.options(config).highest}"/>'

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [studio_result("rating", "rating", "text", {"rating": value["rating"]})]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        found = the_one(by_type(result, "rating"), "ratings")
        return None if found is None else {"rating": found.get("rating")}
