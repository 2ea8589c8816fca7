"""Which of two answers is better, for preference training. They stand as `a` and `b`; which of them a model wrote is not told."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from llmos.data.annotate.tasks.base import MAX_TEXT, Open, ProjectConfig, Strict, Task, by_type, studio_result, tasks, the_one
from llmos.data.annotate.tasks.conversation import Turn
from llmos.errors import InvalidValue

_CHOICES = {"left": "a", "right": "b", "tie": "tie"}  # Label Studio's words for ours


class PairItem(Open):
    """prompt: what was asked, or messages: the conversation up to the answers."""

    prompt: str = Field("", max_length=MAX_TEXT)
    messages: list[Turn] = Field(default_factory=list, max_length=1024)
    a: str = Field(max_length=MAX_TEXT)
    b: str = Field(max_length=MAX_TEXT)

    @model_validator(mode="after")
    def _asked(self) -> PairItem:
        if bool(self.prompt) == bool(self.messages):
            raise ValueError("give either prompt or messages")
        return self


class Better(Strict):
    choice: Literal["a", "b", "tie"]


class PairOptions(Strict):
    """ties: whether "tie" is an answer."""

    ties: bool = False


@tasks.register("preference")
class Preference(Task):
    name = "preference"
    about = "The better one of two answers."
    Options = PairOptions
    Item = PairItem
    Value = Better
    studio_field = "prompt"

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:
        if value.choice == "tie" and not self.options(config).ties:
            hint = "Set config.options.ties to allow it."
            raise InvalidValue("value.choice is 'tie', which this project does not take.", param="value.choice", hint=hint)

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return str(value["choice"])

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "choice": value["choice"]}

    def studio_tags(self, config: ProjectConfig) -> str:
        return (
            '<Text name="prompt" value="$prompt"/><Text name="a" value="$a"/><Text name="b" value="$b"/>'
            '<Pairwise name="choice" toName="a,b"/>'
        )

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        selected = {ours: theirs for theirs, ours in _CHOICES.items()}
        return [studio_result("pairwise", "choice", "a,b", {"selected": selected[value["choice"]]})]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        found = the_one(by_type(result, "pairwise"), "preferences")
        return None if found is None else {"choice": _CHOICES.get(str(found.get("selected")), found.get("selected"))}
