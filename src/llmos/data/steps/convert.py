"""Rows of one shape (chat, preference, classification, translation, text …) to another, within a recipe.

The columns that come out must be the same for every batch, so they follow from the two shapes and from the columns that come in, never
from the values: a chat's turns are a list of {role, content} (or what the shape calls them), with `name` and the fields of tool calls when
the rows have them. Shapes with an object whose keys differ from row to row are for `llmos data convert`, which writes JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, StepConfig, step
from llmos.data.shapes import Converter, RowProblem, make_options, shapes
from llmos.data.shapes.base import Column
from llmos.errors import InvalidValue, LLMOSError

CALL = pl.Struct({"id": pl.String, "type": pl.String, "function": pl.Struct({"name": pl.String, "arguments": pl.String})})
TURN_FIELDS: dict[str, Any] = {"name": pl.String, "tool_call_id": pl.String, "tool_calls": pl.List(CALL)}
_KINDS: dict[str, Any] = {
    "text": pl.String,
    "a list of tools": pl.String,  # as JSON text
    "true or false": pl.Boolean,
    "a list of texts": pl.List(pl.String),
    "a list of pairs of texts": pl.List(pl.List(pl.String)),
}
_LABELS: dict[str, Any] = {"a list of labels": pl.List(pl.String)}
TEXTS = ("content", "value")
_CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
_PROBES: dict[str, dict[str, Any]] = {  # a row of each family, to see what the target calls the fields of a turn
    "messages": {"messages": _CHAT},
    "preference": {"prompt": "a", "chosen": "b", "rejected": "c"},
    "kto": {"prompt": "a", "completion": "b", "label": True},
    "prompt-completion": {"prompt": "a", "completion": "b"},
}


@step("convert")
class Convert(Mapper):
    """Converts rows from the shape `source` to the shape `to`. What cannot be converted without loss is dropped, unless `lossy`. Columns
    that are not of the shape stay."""

    class Config(StepConfig):
        source: str = Field(min_length=1, description="The shape that the rows have: sharegpt, alpaca, messages, preference …")
        to: str = Field(min_length=1, description="The shape that they get.")
        lossy: bool = Field(False, description="Convert also what the new shape cannot hold, without it.")
        options: dict[str, Any] = Field(default_factory=dict, description="Of the conversion, such as template or answer.")

    config: Config

    def prepare(self) -> None:
        c = self.config
        self.old, self.new = shapes.get(c.source), shapes.get(c.to)
        self._made()
        for column in self.new.columns:
            if column.kind == "an object":
                what = f"Rows of shape {c.to} have objects in {column.name!r}, whose keys differ from row to row."
                raise InvalidValue(what, param="to", hint="Convert the file instead: llmos data convert FILE -o FILE --to SHAPE")

    def _made(self) -> Converter:
        return Converter(self.config.source, self.config.to, lossy=self.config.lossy, options=make_options(self.config.options))

    def map(self, rows: Rows) -> Mapped:
        frame, converter = rows.frame, self._made()
        own = [name for name in frame.columns if name in self.old.names]
        if not own:
            what = f"convert: the rows have none of the columns of {self.config.source}: {', '.join(self.old.names)}."
            raise InvalidValue(
                what, param="source", hint="Name them where they are read (columns of the source), or another shape."
            )
        clash = [name for name in self.new.names if name in frame.columns and name not in own]
        if clash:
            raise InvalidValue(
                f"convert: the rows have a column {clash[0]!r} already.", param="to", hint="Rename or drop it first."
            )
        kinds = {column.name: self._kind(column, frame) for column in self._columns(frame)}
        values: dict[str, list[Any]] = {name: [] for name in kinds}
        problems: list[str] = []
        for place, row in enumerate(frame.select(own).to_dicts()):
            made = converter.convert({name: pruned(value) for name, value in row.items()}, place)
            problem = made.message if isinstance(made, RowProblem) else next(_unfit(made, kinds), "")
            problems.append(problem)
            for name, held in values.items():
                held.append(None if problem or isinstance(made, RowProblem) else _text_of(made.get(name), kinds[name]))
        return Mapped(
            columns={name: pl.Series(name, held, dtype=kinds[name]) for name, held in values.items()},
            drop=pl.Series([bool(one) for one in problems], dtype=pl.Boolean),
            reason="not convertible",
            detail=problems,
            without=[name for name in own if name not in kinds],
        )

    def _columns(self, frame: pl.DataFrame) -> list[Column]:
        """Of the new shape, without tools where these rows have none."""
        mine = set(frame.columns) | _nested(frame)
        return [one for one in self.new.columns if one.required or one.name in mine or one.kind != "a list of tools"]

    def _kind(self, column: Column, frame: pl.DataFrame) -> Any:
        """Its type; a label keeps the one that it has."""
        if column.kind == "a list of messages":
            return pl.List(pl.Struct(self._turn(column.name, frame)))
        return _KINDS.get(column.kind) or frame.schema.get(column.name) or _LABELS.get(column.kind, pl.String)

    def _turn(self, name: str, frame: pl.DataFrame) -> dict[str, Any]:
        fields = dict.fromkeys(_probed(self.config.to, name), pl.String)
        mine = _nested(frame)
        more = {field: kind for field, kind in TURN_FIELDS.items() if field in mine and field not in fields}
        return {**fields, **more}


def _probed(to: str, column: str) -> list[str]:
    """What a turn's fields are called in that column of that shape."""
    for shape, row in _PROBES.items():
        try:
            made = Converter(shape, to, lossy=True).convert(row, 0)
        except LLMOSError:
            continue
        if not isinstance(made, RowProblem) and made.get(column):
            return list(dict.fromkeys(name for turn in made[column] for name in turn))
    return ["role", "content"]


def _nested(frame: pl.DataFrame) -> set[str]:
    """Names of fields anywhere in the columns."""

    def names(kind: Any) -> Iterator[str]:
        if isinstance(kind, pl.Struct):
            for field in kind.fields:
                yield field.name
                yield from names(field.dtype)
        elif isinstance(kind, pl.List | pl.Array):
            yield from names(kind.inner)

    return {name for kind in frame.schema.values() for name in names(kind)}


def pruned(value: Any) -> Any:
    """Without the keys of nested objects that are null only because another row has them."""
    if isinstance(value, dict):
        return {name: pruned(one) for name, one in value.items() if one is not None}
    return [pruned(one) for one in value] if isinstance(value, list) else value


def _text_of(value: Any, kind: Any) -> Any:
    """Tools become the JSON text that a column can hold."""
    return json.dumps(value, ensure_ascii=False) if kind == pl.String and isinstance(value, list | dict) else value


def _unfit(row: dict[str, Any], kinds: dict[str, Any]) -> Iterator[str]:
    """What of a converted row has no place in the columns."""
    yield from (f"It has a value of {name}, which no column holds." for name in row if name not in kinds and row[name] is not None)
    for name, kind in kinds.items():
        if isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct):
            known = {field.name for field in kind.inner.fields}
            for turn in row.get(name) or []:
                yield from (f"A turn of {name} has {field}, which no column holds." for field in turn if field not in known)
                yield from (f"The {one} of a turn is no text." for one in TEXTS if not isinstance(turn.get(one) or "", str))
