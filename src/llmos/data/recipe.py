"""A recipe: where rows come from, what is done with them in which order, and where they go. One object from YAML, Python and REST.

    name: mails
    sources:
      - path: mails/*.jsonl
    process:
      - fix_unicode
      - text_length: {min_chars: 40}
      - minhash_dedup: {threshold: 0.8}
    sinks:
      - path: clean.jsonl.zst

`Recipe.load(path, ["process.text_length.min_chars=100"])` reads one and changes single values. Recipes of Data-Juicer are recognised by
their keys and translated (data/juicer.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llmos.data.readers.base import ReadOptions
from llmos.errors import InvalidValue, NotFound

Executor = Literal["auto", "inline", "threads", "processes", "ray"]
NAME = r"^[a-z0-9][a-z0-9._-]{0,127}$"
MAX_RECIPE_BYTES = 1 << 20


class Source(BaseModel):
    """Where rows come from: exactly one of path, url, dataset, file and rows.

    path: file, folder or glob of this machine, `s3://bucket/key` (globs too), or `get:NAME`: public data (data/catalogue.py); url: one
    file over https; dataset: `name` or `name@version` of this library; file: id of an uploaded file; rows: written out here. format: of
    the files, when their names do not say. columns: new name of a column -> the name it has in the files. tag: becomes the value of a
    column `source` of every row. split: of a folder in the Hugging Face layout, `all` for all of them. folder_column: becomes a column
    with the name of the folder that a row's file lies in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(None, min_length=1)
    url: str | None = Field(None, min_length=1)
    dataset: str | None = Field(None, min_length=1)
    file: str | None = Field(None, min_length=1, max_length=64)
    rows: tuple[dict[str, Any], ...] | None = None
    format: str = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    tag: str = ""
    split: str = ""
    folder_column: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("path", "url", "dataset", "file", "rows") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a source is one of path, url, dataset, file and rows; given: {', '.join(given) or 'none'}")
        return self


class Sink(BaseModel):
    """Where the result goes beside the dataset version: a file, or a folder ending in `/` for several, here or `s3://bucket/key`.
    format: as the name says when `auto`. ids: with the ids of the rows, as a column `_id`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1)
    format: str = "auto"
    ids: bool = False


class StepCall(BaseModel):
    """One step of a recipe: `{name: {parameters}}`, or the bare name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    params: dict[str, Any] = Field(default_factory=dict)


class Recipe(BaseModel):
    """columns: the only ones that are taken from the sources; empty: all. text_column: what steps read that are not told otherwise. seed:
    of everything drawn at random. keep_signals: adds what filters measure as columns. keep_dropped: dropped rows stay in the ledger as
    they were, and the beginning of those that cannot be read. workers: 0 is one per core. notices: what whoever runs it must be told of a
    translated recipe (data/juicer.py)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("dataset", pattern=NAME)
    sources: tuple[Source, ...] = Field(min_length=1)
    process: tuple[StepCall, ...] = ()
    sinks: tuple[Sink, ...] = ()
    columns: tuple[str, ...] = ()
    text_column: str = Field("text", min_length=1)
    seed: int = 0
    keep_signals: bool = False
    keep_dropped: bool = True
    read: ReadOptions = Field(default_factory=ReadOptions)
    executor: Executor = "auto"
    workers: int = Field(0, ge=0, le=4096)
    notices: tuple[str, ...] = ()

    @field_validator("process", mode="before")
    @classmethod
    def _calls(cls, given: Any) -> Any:
        return [step_call(one) for one in given] if isinstance(given, list | tuple) else given

    @property
    def meaning(self) -> dict[str, Any]:
        """What decides the rows that come out: everything but who computes them and where copies go."""
        return self.model_dump(mode="json", exclude={"executor", "workers", "sinks", "name", "notices"})

    @property
    def digest(self) -> str:
        return digest_of(self.meaning)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Reads YAML or JSON. overrides: `key=value` with dots, a step by its place (from 0) or its name. Raises InvalidValue."""
        file = Path(path)
        if not file.is_file():
            raise NotFound(f"There is no recipe {file}.", param="recipe")
        if file.stat().st_size > MAX_RECIPE_BYTES:
            raise InvalidValue(f"{file} is larger than {MAX_RECIPE_BYTES:,} bytes; that is no recipe.", param="recipe")
        return cls.parse(file.read_text(encoding="utf-8"), overrides, where=str(file))

    @classmethod
    def parse(cls, text: str, overrides: Sequence[str] = (), *, where: str = "the recipe") -> Recipe:
        return cls.build(_yaml(text, where), overrides, where=where)

    @classmethod
    def build(cls, document: Any, overrides: Sequence[str] = (), *, where: str = "the recipe") -> Recipe:
        """From plain data. Raises InvalidValue that names the field."""
        from llmos.data.juicer import is_juicer, translate

        if not isinstance(document, Mapping):
            raise InvalidValue(f"{where} must be a mapping with sources and process.", param="recipe")
        plain = _plain(document, where)
        for override in overrides:
            _override(plain, override)
        if is_juicer(plain):
            plain = translate(plain)
        try:
            return cls.model_validate(plain)
        except ValidationError as problem:
            first = problem.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidValue(f"{where}: {field or 'recipe'}: {first['msg']}", param=field or "recipe") from None


def step_call(given: Any) -> Any:
    """`name`, `{name: {…}}`, `{name: null}` or a StepCall as plain data."""
    if isinstance(given, str):
        return {"step": given}
    if isinstance(given, Mapping) and "step" not in given and len(given) == 1:
        ((name, params),) = given.items()
        if params is not None and not isinstance(params, Mapping):
            raise ValueError(f"the parameters of {name} must be a mapping, not {type(params).__name__}")
        return {"step": name, "params": params or {}}
    return given


def _override(document: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidValue(f"{text!r} is not of the form key=value.", param="overrides")
    *path, last = key.split(".")
    given = _plain(_yaml(value, key, _Value), key)
    place: Any = document
    for part in path:
        place = _inside(place, part, key)
    if isinstance(place, list):
        place[_place(place, last, key)] = given
    elif isinstance(place, dict):
        place[last] = given
    else:
        raise InvalidValue(f"{key}: {path[-1]} has no parts to set.", param=key)


class _Value(yaml.SafeLoader):
    """Of an override, which may come from a stranger: a few aliases of aliases are gigabytes, so there are none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a value has no aliases (*name)")
        return super().compose_node(parent, index)


def _yaml(text: str, where: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    try:
        return yaml.load(text, loader)  # noqa: S506 - both are SafeLoaders
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise InvalidValue(f"{where} is not YAML: {problem}", param="recipe") from None


def _plain(document: Any, where: str) -> Any:
    """As JSON: dates are texts, keys too."""
    try:
        return json.loads(json.dumps(document, default=str))
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValue(f"{where} is not plain data: {problem}", param="recipe") from None


def _inside(place: Any, part: str, key: str) -> Any:
    """The value below; a bare or null step becomes one with parameters."""
    if isinstance(place, dict):
        if place.get(part) is None:
            place[part] = {}
        return place[part]
    if isinstance(place, list):
        number = _place(place, part, key)
        if isinstance(place[number], str):
            place[number] = {place[number]: {}}
        found = place[number]
        if not part.isdecimal():
            return _inside(found, part, key) if "step" not in found else found.setdefault("params", {})
        return found
    raise InvalidValue(f"{key}: {part} is not there.", param=key)


def _place(steps: list[Any], part: str, key: str) -> int:
    if part.isdecimal() and int(part) < len(steps):
        return int(part)
    found = [
        number
        for number, one in enumerate(steps)
        if one == part or (isinstance(one, dict) and (part in one or one.get("step") == part))
    ]
    if len(found) != 1:
        many = "is there more than once; give its place, from 0" if found else "is not there"
        raise InvalidValue(f"{key}: {part} {many}.", param=key)
    return found[0]


def digest_of(plain: Any) -> str:
    """SHA-256 of plain data in canonical JSON."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
