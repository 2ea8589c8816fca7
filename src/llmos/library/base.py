"""The contract of the model library: what a model is, where its files lie, what names mean.

    name  --resolve-->  ModelCard (immutable, version = hash of its content)  --files-->  blobs (content-addressed, read-only)

A card is data: everything an engine, a scheduler or a user needs to know before a byte of weights is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmos.types import Family, Task

Format = Literal["gguf", "safetensors", "onnx", "ctranslate2", "openvino", "peft", "marian", "remote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model. `path` is relative, with the name engines expect; sha256 is its identity in the blob store."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What LLMOS knows of a model. Equal cards have equal `version`.

    architecture: as the file says it ("llama", "qwen2", "bert", "t5", …). quantization: "Q4_1", "bf16", "f32", ….
    context_length: tokens, prompt and answer together; for encoders and seq2seq the longest input.
    memory_bytes: estimate for weights at load; the pool measures the real figure.
    parameters: number of weights. embedding_dim: width of a vector, where it makes one.
    labels: of a classification head, in order. base: version of the model that an adapter belongs to.
    languages: ISO 639-1 codes that it is known to serve, () when unknown.
    """

    name: str
    version: str
    family: Family
    format: Format
    architecture: str
    files: tuple[ModelFile, ...]
    source: str
    licence: str = "unknown"
    parent: str | None = None
    parameters: int = 0
    context_length: int = 0
    quantization: str = ""
    memory_bytes: int = 0
    embedding_dim: int = 0
    chat_template_sha256: str | None = None
    tasks: tuple[Task, ...] = ()
    languages: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    base: str | None = None
    lineage_id: str | None = None
    created_at: str = ""
    kv_bytes_per_token: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def ref(self) -> str:
        """name:version with twelve characters of the version, enough for a person."""
        return f"{self.name}:{self.version[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a name means now. `notice` is a sentence to show once when the name stands for something else, or ""."""

    requested: str
    card: ModelCard
    folder: Path
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of a long operation. total is 0 while it is not known; eta_s None likewise."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0
    eta_s: float | None = None
    message: str = ""
