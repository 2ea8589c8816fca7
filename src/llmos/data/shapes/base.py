"""The contract of a shape: which columns its rows have, how a row is read into a record and how one is written.

A shape is one class with `read` and `write`, made known by one line:

    @shapes.register("text")
    class Text(Shape): ...

read and write raise InvalidValue whose `param` is the column (or `column[3].key`) that is to blame; nothing else. What a shape
cannot hold is reported through `Writing.lose`, which refuses unless the user said that it may be lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from llmos.data.shapes.records import Record
from llmos.errors import InvalidValue
from llmos.registry import Registry

Row = dict[str, Any]


ABOUT: dict[str, str] = {
    "template": "the question put to the model, with {text}, {source}, … in the place of the fields",
    "label": "whether the answers of the chats are liked",
    "label_names": "the name of each class, where labels are numbers",
    "source_language": "the language of the source",
    "target_language": "the language of the target",
    "answer": "which answer of a pair becomes feedback, 'chosen' or 'rejected'",
    "side": "which text of a translation becomes plain text, 'source' or 'target'",
    "renderer": "how a chat becomes text: 'plain', or a function of (messages, tools) such as a model's chat template",
    "separator": "what stands between words that become a text, ' ' or '' for Chinese",
    "no_answer": "what is answered where the row has no answer",
    "model": "the model that requests of a batch ask",
    "tools_as_text": "whether tools are written as JSON text (in Parquet a column of objects makes all tools one schema)",
    "system_column": "whether the system prompt has a column of its own in ShareGPT rows",
}


@checked(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class Options:
    """What some conversions need to be told (ABOUT). An option that the conversion asked for does not use is refused."""

    template: str | None = None
    label: bool | None = None
    label_names: tuple[str, ...] | list[str] | None = None
    source_language: str | None = None
    target_language: str | None = None
    answer: str | None = None
    side: str | None = None
    renderer: str | Callable[[list[Row], list[Row] | None], str] | None = None
    separator: str | None = None
    no_answer: str | None = None
    model: str | None = None
    tools_as_text: bool | None = None
    system_column: bool | None = None

    def given(self) -> list[str]:
        return [each.name for each in fields(self) if getattr(self, each.name) is not None]


@dataclass(slots=True)
class Writing:
    """How a row is written: its index, the options, whether something may be lost, and what was."""

    options: Options = field(default_factory=Options)
    lossy: bool = False
    index: int = 0
    lost: set[str] = field(default_factory=set)

    def lose(self, name: str, what: str) -> None:
        """Says that `what`, which stood in field `name`, will not be in the new row. Raises InvalidValue unless lossy."""
        if not self.lossy:
            raise InvalidValue(
                f"{what[0].upper()}{what[1:]} would be lost.", param=name, hint="Say lossy=True to convert without it."
            )
        self.lost.add(what)

    def need(self, option: str, why: str) -> Any:
        """The option's value. Raises InvalidValue with the reason when it was not given."""
        value = getattr(self.options, option)
        if value is None:
            raise InvalidValue(
                f"{why}, which the row does not say.", param=option, hint=f"Give the option {option}: {ABOUT[option]}."
            )
        return value


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_messages(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _is_label(value: object) -> bool:
    return isinstance(value, str | int | float)


def is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_labels(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str | int | float) for each in value)


def _is_pairs(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str) and isinstance(each[1], str)
        for each in value
    )


KINDS: dict[str, Callable[[object], bool]] = {
    "text": is_text,
    "true or false": lambda value: isinstance(value, bool),
    "a label": _is_label,
    "a label or a list of labels": lambda value: _is_label(value) or _is_labels(value),
    "a list of labels": _is_labels,
    "a list of texts": is_texts,
    "text or a list of texts": lambda value: is_text(value) or is_texts(value),
    "a list of messages": is_messages,
    "a list of pairs of texts": _is_pairs,
    "an object": lambda value: isinstance(value, dict),
    "a list of tools": lambda value: is_text(value) or is_messages(value),
}


@dataclass(frozen=True, slots=True)
class Column:
    """kind: one of KINDS. An optional column may be missing or null."""

    name: str
    kind: str
    required: bool = True


class Shape(ABC):
    """Reads rows of its columns into `record` and writes them.

    uses: the names of the options that write looks at. yields_to: the shape that is meant when rows fit both equally well."""

    name: str
    record: type[Record]
    columns: tuple[Column, ...]
    uses: frozenset[str] = frozenset()
    yields_to: str = ""

    @abstractmethod
    def read(self, row: Row) -> Any:
        """The record. Raises InvalidValue with the column at fault."""

    @abstractmethod
    def write(self, record: Any, to: Writing) -> Row:
        """The row. Raises InvalidValue when the shape cannot hold the record, or not without a loss that is not allowed."""

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns)

    def fits(self, row: Row) -> bool:
        """Whether the row can have this shape. Shapes with the same columns tell each other apart here, by values."""
        return all(_problem(column, row) is None for column in self.columns)

    def take(self, row: Row) -> dict[str, Any]:
        """Checks the row's own columns and returns the others."""
        for column in self.columns:
            problem = _problem(column, row)
            if problem is not None:
                raise InvalidValue(problem, param=column.name)
        names = self.names
        return {name: value for name, value in row.items() if name not in names}

    def carry(self, row: Row, extra: Mapping[str, Any]) -> Row:
        """Adds the carried columns to a row. Raises InvalidValue when one has the name of a column of this shape."""
        for name in extra:
            if name in self.names:
                raise InvalidValue(
                    f"The column {name!r} would be taken along, but rows of shape {self.name} have a column of that name.",
                    param=name,
                    hint="Rename or drop it first.",
                )
        row.update(extra)
        return row


def _problem(column: Column, row: Row) -> str | None:
    value = row.get(column.name)
    if value is None:
        return f"The column {column.name!r} is missing or null." if column.required else None
    if KINDS[column.kind](value):
        return None
    return f"The column {column.name!r} must be {column.kind}; it is {type(value).__name__}."


shapes: Registry[Shape] = Registry("shape")
