"""The catalogue: models worth knowing by a short name, as data (catalogue.yaml), and what `gpt-3` and its like stand for.

An entry says where a model comes from and what it needs before a byte is fetched. Sizes of entries whose files are pinned by
SHA-256 are exact; those of hub entries are rounded, the hub states the exact ones at the moment of the pull.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import msgspec.yaml

from llmos.errors import NotFound, did_you_mean
from llmos.library.names import Reference, parse
from llmos.types import Family, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One model. `source` is parsed by names.parse; `parts` and `file` belong to a file that is cut into pieces.

    sha256: file -> hash, for files that must be exactly these. memory_bytes: weights at load, without KV cache.
    licence: SPDX identifier where there is one. accept: address of the terms that must be accepted first, or "".
    """

    name: str
    source: str
    family: Family
    licence: str
    summary: str
    tasks: tuple[Task, ...]
    languages: tuple[str, ...]
    parameters: int
    size_bytes: int
    memory_bytes: int
    context_length: int
    aliases: tuple[str, ...] = ()
    accept: str = ""
    parts: int = 1
    file: str = ""
    sha256: tuple[tuple[str, str], ...] = ()

    @property
    def reference(self) -> Reference:
        return replace(parse(self.source), parts=self.parts, file=self.file)

    @property
    def needs_hub(self) -> bool:
        return self.reference.scheme in ("hf", "ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A name for a model that cannot be had: `why` says so whenever the name is used. target "default" is the default model;
    `remote` is the name to ask of a configured remote endpoint."""

    name: str
    target: str
    remote: str
    why: str


class Catalogue:
    """All entries by name, alias and hub repository, compared without case."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.entries = tuple(_entry(raw) for raw in document["models"])
        self.stand_ins = {raw["name"]: StandIn(**raw) for raw in document["stand_ins"]}

    @cached_property
    def _index(self) -> dict[str, CatalogueEntry]:
        index: dict[str, CatalogueEntry] = {}
        for entry in self.entries:
            keys = [entry.name, *entry.aliases, *([entry.reference.place] if entry.needs_hub else [])]
            for key in dict.fromkeys(key.lower() for key in keys):
                if key in index:
                    raise ValueError(f"catalogue.yaml: {key!r} means {index[key].name} and {entry.name}")
                index[key] = entry
        return index

    def find(self, name: str) -> CatalogueEntry | None:
        return self._index.get(name.lower())

    def get(self, name: str) -> CatalogueEntry:
        """Raises NotFound with the nearest names."""
        entry = self.find(name)
        if entry is None:
            raise NotFound(f"The catalogue has no model {name!r}.", param="model", hint=did_you_mean(name, self.names()))
        return entry

    def stand_in(self, name: str) -> StandIn | None:
        return self.stand_ins.get(name.lower())

    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def __iter__(self) -> Iterator[CatalogueEntry]:
        return iter(self.entries)


def _entry(raw: dict[str, Any]) -> CatalogueEntry:
    return CatalogueEntry(
        **{
            **raw,
            "family": Family(raw["family"]),
            "tasks": tuple(Task(task) for task in raw["tasks"]),
            "languages": tuple(raw.get("languages", ())),
            "aliases": tuple(raw.get("aliases", ())),
            "sha256": tuple(raw.get("sha256", {}).items()),
        }
    )


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The catalogue that comes with LLMOS."""
    text = (files("llmos.library") / "catalogue.yaml").read_bytes()
    return Catalogue(msgspec.yaml.decode(text))
