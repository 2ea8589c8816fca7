"""Rows whose columns, keys or roles have other names than the shape's: a mapping says which is which.

    Mapping(shape="alpaca", columns={"instruction": "question", "output": "reply"})
    from_dataset_info({"formatting": "sharegpt", "columns": {"messages": "dialog"}, "tags": {"role_tag": "speaker", …}})

The second reads an entry of LLaMA-Factory's dataset_info.json, so that files described there are used as they are. Where its
`columns` are given, those it does not name are not read, as there; images, videos and audios travel along like any other column.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Record
from llmos.data.shapes.sharegpt import TaggedShape
from llmos.data.shapes.turns import Tags
from llmos.errors import InvalidValue, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """columns: the shape's column -> the file's, or None where the file has none; those not named keep their names.
    tags: for shapes with tagged messages (ShareGPT's family)."""

    shape: str
    columns: Dict[str, str | None] = field(default_factory=dict)
    tags: Tags | Dict[str, str] | None = None

    def bound(self) -> Shape:
        """The shape under these names. Raises NotFound or InvalidValue for a shape or column that does not exist."""
        shape = shapes.get(self.shape)
        for name in self.columns:
            if name not in shape.names:
                raise InvalidValue(
                    f"The shape {self.shape} has no column {name!r}.", param="columns", hint=did_you_mean(name, sorted(shape.names))
                )
        if self.tags is not None:
            if not isinstance(shape, TaggedShape):
                raise InvalidValue(f"The messages of shape {self.shape} have no tags.", param="tags")
            shape = shape.with_tags(make_tags(self.tags))
        return _Mapped(shape, self.columns) if self.columns else shape


class _Mapped(Shape):
    """A shape with other names for its columns."""

    def __init__(self, inner: Shape, columns: Dict[str, str | None]) -> None:
        self._inner = inner
        self._files = {name: file for name in inner.names if (file := columns.get(name, name)) is not None}
        self.name = inner.name
        self.record = inner.record
        self.uses = inner.uses
        renamed = ((column, self._files.get(column.name)) for column in inner.columns)
        self.columns = tuple(Column(file, column.kind, column.required) for column, file in renamed if file is not None)
        absent = [column.name for column in inner.columns if column.required and column.name not in self._files]
        if absent:
            raise InvalidValue(f"The shape {inner.name} needs the column {absent[0]!r}.", param="columns")

    def _row(self, row: Row) -> Row:
        return {name: row[file] for name, file in self._files.items() if file in row}

    def fits(self, row: Row) -> bool:
        return self._inner.fits(self._row(row))

    def read(self, row: Row) -> Record:
        extra = self.take(row)
        try:
            record: Record = self._inner.read(self._row(row))
        except InvalidValue as problem:
            raise self._renamed(problem) from None
        record.extra = record.extra | extra
        return record

    def write(self, record: Record, to: Writing) -> Row:
        row = self._inner.write(record, to)
        absent = [name for name in row if name in self._inner.names and name not in self._files]
        for name in absent:
            if row.pop(name):
                to.lose(name, f"the column {name!r}, which the mapping leaves out,")
        return {self._files.get(name, name): value for name, value in row.items()}

    def _renamed(self, problem: InvalidValue) -> InvalidValue:
        param = problem.param or ""
        name = param.partition("[")[0].partition(".")[0]
        return InvalidValue(problem.message, param=self._files.get(name, name) + param[len(name) :], hint=problem.hint)


_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"} | {
    name: name for name in ("system", "history", "tools", "chosen", "rejected", "kto_tag")
}
_SHAREGPT = {"messages": "conversations"} | {name: name for name in ("system", "tools", "chosen", "rejected", "kto_tag")}
_DEFAULTS = {"alpaca": {"prompt": "instruction", "query": "input", "response": "output"}, "sharegpt": {"messages": "conversations"}}
_MEDIA = ("images", "videos", "audios")


def from_dataset_info(entry: Dict[str, Any]) -> Mapping:
    """The mapping that an entry of dataset_info.json describes, by its formatting, ranking, columns and tags; its other keys say
    where the data is and are not looked at. Raises InvalidValue for a value that LLaMA-Factory does not know either."""
    formatting, ranking = entry.get("formatting", "alpaca"), bool(entry.get("ranking"))
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise InvalidValue(f"Unknown formatting {formatting!r}.", param="formatting", hint="Known: alpaca, sharegpt, openai.")
    tags = None if entry.get("tags") is None else make_tags(entry["tags"])
    if formatting == "alpaca":
        return _alpaca(_columns(entry, "alpaca", _ALPACA, ranking), ranking)
    columns = _columns(entry, "sharegpt", _SHAREGPT, ranking)
    liked = columns.get("kto_tag") is not None
    if formatting == "openai" and not ranking:
        return _openai(columns, tags, liked)
    shape = "preference-sharegpt" if ranking else "kto-sharegpt" if liked else "sharegpt"
    return Mapping(shape=shape, columns=_only(shape, columns), tags=tags)


def _columns(entry: Dict[str, Any], formatting: str, names: dict[str, str], ranking: bool) -> dict[str, str | None]:
    """Our column -> the file's. Where the entry has columns, those it does not name do not exist."""
    given = entry.get("columns")
    if given is None:
        given = _DEFAULTS[formatting] | ({"chosen": "chosen", "rejected": "rejected"} if ranking else {})
    known = {*_ALPACA, *_SHAREGPT, *_MEDIA}
    for name in given:
        if name not in known:
            raise InvalidValue(f"Unknown column {name!r}.", param="columns", hint=did_you_mean(name, sorted(known)))
    return {ours: given.get(theirs) for theirs, ours in names.items()}


def _only(shape: str, columns: dict[str, str | None]) -> dict[str, str | None]:
    return {name: file for name, file in columns.items() if name in shapes.get(shape).names}


def _alpaca(columns: dict[str, str | None], ranking: bool) -> Mapping:
    if columns["kto_tag"] is not None:
        shape = "kto-alpaca"
    elif ranking:
        shape = "preference-alpaca"
    elif columns["output"] is not None:
        shape = "alpaca"
    else:
        return Mapping(shape="text", columns={"text": columns["instruction"]})
    return Mapping(shape=shape, columns=_only(shape, columns))


def _openai(columns: dict[str, str | None], tags: Tags | None, liked: bool) -> Mapping:
    said = tags or Tags()
    if tags is not None and (said.role_tag, said.content_tag, said.user_tag, said.assistant_tag) != (
        "role",
        "content",
        "user",
        "assistant",
    ):
        raise InvalidValue("OpenAI's messages have role and content, of user and assistant.", param="tags")
    found: dict[str, str | None] = {"messages": columns["conversations"], "tools": columns["tools"]}
    return (
        Mapping(shape="kto-chat", columns=found | {"label": columns["kto_tag"]})
        if liked
        else Mapping(shape="messages", columns=found)
    )


def make_tags(given: Tags | Dict[str, str]) -> Tags:
    """Raises InvalidValue for a name that is no tag."""
    if isinstance(given, Tags):
        return given
    for name in given:
        if name not in Tags.names():
            raise InvalidValue(f"Unknown tag {name!r}.", param="tags", hint=did_you_mean(name, Tags.names()))
    return Tags(**given)
