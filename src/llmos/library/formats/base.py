"""The contract of a model file format: how it is recognised, and what can be known of a model without loading it.

    inspect_model(path)  -- limited child -->  content.py   is any file dangerous, whatever its name says?
                                               FileFormat   whose main file is this? -> Inspection

A format is one file here and one line, `@formats.register("name")`. It reads headers and small JSON files, never weights,
and checks every number against the file before it believes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from llmos.errors import InvalidValue
from llmos.library.base import Format
from llmos.registry import Registry
from llmos.types import Family, Task

HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the files themselves say of a model; fields as in `ModelCard`. 0, "" and () where they do not say.

    files: those that belong to the model, relative to `folder`, main file first; nothing else needs to be kept.
    ignored: (path, reason) of files in the folder that were looked at and left out.
    base_model: the model an adapter was made for, as the adapter names it.
    kv_bytes_per_token: of a key-value cache in 16 bits. memory_bytes: of the weights as they lie in the files.
    """

    format: Format
    family: Family
    architecture: str
    folder: str
    files: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...] = ()
    parameters: int = 0
    context_length: int = 0
    quantization: str = ""
    chat_template_sha256: str | None = None
    embedding_dim: int = 0
    labels: tuple[str, ...] = ()
    kv_bytes_per_token: int = 0
    memory_bytes: int = 0
    tasks: tuple[Task, ...] = ()
    base_model: str | None = None
    licence: str = ""
    languages: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Inspection:
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        values["family"] = Family(told["family"])
        values["tasks"] = tuple(Task(task) for task in told["tasks"])
        values["ignored"] = tuple((path, reason) for path, reason in told["ignored"])
        return cls(**values)


class FileFormat(ABC):
    """One format. precedence: where a folder holds several formats, the lowest is the model's. nested: the weights may lie in
    a folder of their own (`onnx/`) below config.json."""

    name: ClassVar[str]
    precedence: ClassVar[int] = 100
    nested: ClassVar[bool] = False

    @abstractmethod
    def sniff(self, head: bytes, path: Path) -> bool:
        """Whether a file that starts with `head` (up to 64 KiB) can be the main file of a model of this format.
        Decided by content; the name only tells equals apart (adapter or model)."""

    @abstractmethod
    def inspect(self, main: Path, folder: Path) -> Inspection:
        """What there is to know. `main` was accepted by `sniff`; companions (config.json, …) lie in `folder` or beside `main`.
        Raises CorruptFile, UnsafeFile, or ModelFileError for a model that is sound but of no known family."""

    def choose(self, candidates: Sequence[Path]) -> Path:
        """The main file among several that `sniff` accepted. Raises InvalidValue when that is for the user to say."""
        if len(candidates) > 1:
            names = ", ".join(path.name for path in candidates[:20])
            raise InvalidValue(
                f"The folder holds {len(candidates)} {self.name} models: {names}.",
                param="path",
                hint="Give the path of one of them.",
            )
        return candidates[0]


formats: Registry[FileFormat] = Registry("model file format")
