"""The contract of a task: what an item holds, what an annotation may say about it, and how two annotations are compared.

    @tasks.register("rating")
    class Rating(Task): ...

A task owns three pydantic models: `Options` (of a project), `Item` (fields an item must have; more are kept and shown) and `Value` (what
an annotator says). Label Studio's words for the same are methods, so that a new task is one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llmos.errors import InvalidValue, did_you_mean
from llmos.registry import Registry

Level = Literal["nominal", "ordinal", "spans", "none"]
MAX_GUIDELINES = 200_000
MAX_TEXT = 1_000_000
_SHORTCUTS = "1234567890"


class Strict(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Open(BaseModel):
    """Other fields are kept: columns of the source that go with the item."""

    model_config = ConfigDict(extra="allow")


class Label(Strict):
    """key: the key on the keyboard that chooses it; "": its own name when that is a digit, else the next free one that is no name."""

    name: str = Field(min_length=1, max_length=128)
    key: str = Field("", max_length=1)
    description: str = Field("", max_length=2000)


class ProjectConfig(Strict):
    """guidelines: Markdown, shown beside every item. overlap: how many annotators label an item. annotators, reviewers: who may; empty:
    everybody whose key allows it. lease_s: how long an item that was handed out stays reserved. options: of the task."""

    guidelines: str = Field("", max_length=MAX_GUIDELINES)
    labels: list[Label] = Field(default_factory=list, max_length=1000)
    overlap: int = Field(1, ge=1, le=50)
    order: Literal["imported", "random", "uncertainty"] = "imported"
    annotators: list[str] = Field(default_factory=list, max_length=1000)
    reviewers: list[str] = Field(default_factory=list, max_length=1000)
    lease_s: float = Field(900.0, ge=1, le=86_400, allow_inf_nan=False)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        """A name stands for a label with nothing else."""
        return [{"name": one} if isinstance(one, str) else one for one in given] if isinstance(given, list | tuple) else given

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]


class Task(ABC):
    """One kind of question. level: which agreement fits its votes. needs_labels: how many labels a project must have at least."""

    name: ClassVar[str]
    about: ClassVar[str]
    level: ClassVar[Level] = "nominal"
    needs_labels: ClassVar[int] = 0
    prelabels: ClassVar[Literal["", "predict", "generate", "translate"]] = ""
    Options: ClassVar[type[BaseModel]] = Strict
    Item: ClassVar[type[BaseModel]]
    Value: ClassVar[type[BaseModel]]

    def options(self, config: ProjectConfig) -> Any:
        return self.Options.model_validate(config.options)

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:  # noqa: B027 - many need nothing beyond their Value
        """What a model alone cannot say: labels that exist, places inside of the text. Raises InvalidValue with `value.…`."""

    @abstractmethod
    def vote(self, value: Mapping[str, Any]) -> Hashable:
        """What is compared between annotators, of a checked value."""

    def agreed(self, values: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The value that more annotators gave than any other, None when there is none."""
        counted = Counter(self.vote(value) for value in values).most_common(2)
        if not counted or (len(counted) == 2 and counted[0][1] == counted[1][1]):
            return None
        return dict(next(value for value in values if self.vote(value) == counted[0][0]))

    def differ(self, values: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a reviewer should look."""
        return len({self.vote(value) for value in values}) > 1

    @abstractmethod
    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        """The item with the value in it, as a row of a data set."""

    # -- Label Studio ------------------------------------------------------------------------------------------------
    studio_field: ClassVar[str] = "text"  # what its object tag shows

    @abstractmethod
    def studio_tags(self, config: ProjectConfig) -> str:
        """The tags inside of <View>."""

    @abstractmethod
    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The `result` of an annotation."""

    @abstractmethod
    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        """The value, not checked yet; None when the result says nothing."""


tasks: Registry[Task] = Registry("annotation task")


def checked(model: type[BaseModel], given: Any, where: str) -> BaseModel:
    """`given` as that model. Raises InvalidValue that names the first bad field, `value.spans[2].start` style."""
    try:
        return model.model_validate(given)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        known = sorted(model.model_fields)
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            raise InvalidValue(f"Unknown field {place!r}.", param=place, hint=did_you_mean(str(first["loc"][0]), known)) from None
        if first["type"] == "missing":
            raise InvalidValue(f"The field {place!r} is missing.", param=place) from None
        raise InvalidValue(f"{place}: {first['msg'].removeprefix('Value error, ')}.", param=place) from None


def checked_config(task: Task, given: Mapping[str, Any]) -> ProjectConfig:
    """The configuration with a shortcut for every label that has a digit left. Raises InvalidValue naming the field."""
    config = checked(ProjectConfig, dict(given), "config")
    assert isinstance(config, ProjectConfig)
    options = checked(task.Options, config.options, "config.options")
    twice = next((name for name, times in Counter(config.names).items() if times > 1), None)
    if twice is not None:
        raise InvalidValue(f"The label {twice!r} is there twice.", param="config.labels")
    if len(config.labels) < task.needs_labels:
        said = f"A project of the task {task.name!r} needs {task.needs_labels} labels or more; {len(config.labels)} were given."
        raise InvalidValue(said, param="config.labels")
    return config.model_copy(update={"labels": _keyed(config), "options": options.model_dump(mode="json")})


def _keyed(config: ProjectConfig) -> list[Label]:
    """The labels, each with a key as long as there are digits. Raises InvalidValue for a key that is there twice."""
    keys = [label.key for label in config.labels if label.key]
    if len(set(keys)) != len(keys):
        raise InvalidValue("Two labels have the same key.", param="config.labels")
    free = [key for key in _SHORTCUTS if key not in keys]
    own = [name for name in config.names if name in free]  # a label called 2 has the key 2, and no other label has it
    others = [key for key in free if key not in own]
    found = []
    for label in config.labels:
        key = label.key or (label.name if label.name in own else others.pop(0) if others else "")
        found.append(label.model_copy(update={"key": key}))
    return found


def checked_item(task: Task, data: Any, where: str = "item") -> dict[str, Any]:
    """The fields of an item as they are kept. Raises InvalidValue naming the field."""
    if not isinstance(data, Mapping):
        raise InvalidValue(f"{where} is not an object.", param=where)
    return checked(task.Item, dict(data), where).model_dump(mode="json", exclude_unset=True)


def checked_value(task: Task, value: Any, data: Mapping[str, Any], config: ProjectConfig, where: str = "value") -> dict[str, Any]:
    """What an annotator says, as it is kept. Raises InvalidValue naming the field."""
    parsed = checked(task.Value, value, where)
    try:
        task.verify(parsed, data, config)
    except InvalidValue as problem:
        if where == "value" or problem.param is None:
            raise
        there = problem.param.replace("value", where, 1)
        raise InvalidValue(problem.message.replace(problem.param, there), param=there, hint=problem.hint) from None
    return parsed.model_dump(mode="json", exclude_none=True)


def known_label(name: str, config: ProjectConfig, where: str) -> None:
    if name not in config.names:
        raise InvalidValue(f"{where}: there is no label {name!r}.", param=where, hint=did_you_mean(name, config.names))


def by_type(result: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The values of Label Studio's results of one type. Raises InvalidValue when they answer different questions."""
    found = [one for one in result if one.get("type") == kind and isinstance(one.get("value"), Mapping)]
    asked = sorted({str(one["from_name"]) for one in found if one.get("from_name")})
    if len(asked) > 1:
        raise InvalidValue(f"The results answer {' and '.join(asked)}; a project here asks for one of them.", param="annotations")
    return [one["value"] for one in found]


def the_one(found: Sequence[Any], what: str) -> Any:
    """The only one of these, None when there is none. Raises InvalidValue for more."""
    if len(found) > 1:
        raise InvalidValue(f"The result has {len(found)} {what}; one can be taken.", param="annotations")
    return found[0] if found else None


def studio_result(kind: str, from_name: str, to_name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"from_name": from_name, "to_name": to_name, "type": kind, "value": dict(value)}


def quoted(text: str) -> str:
    """For an attribute of XML."""
    from xml.sax.saxutils import quoteattr

    return quoteattr(text)
