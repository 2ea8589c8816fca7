"""Model cards: how they are made from what is known, written to the database and read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from llmos.library.base import ModelCard, ModelFile
from llmos.library.catalogue import CatalogueEntry
from llmos.library.inspect import Inspection
from llmos.types import Family, Task

REMOTE_TASKS = (Task.GENERATE, Task.CHAT, Task.TRANSLATE, Task.SUMMARIZE, Task.EMBED)


def version_of(files: Iterable[ModelFile]) -> str:
    """SHA-256 over names and hashes of the files: the same content is the same version wherever it came from."""
    rows = sorted([file.path, file.sha256] for file in files)
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def now() -> str:
    """UTC in ISO 8601 with microseconds, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def dump_card(card: ModelCard) -> str:
    return msgspec.json.encode(card).decode()


def load_card(text: str) -> ModelCard:
    return msgspec.json.decode(text, type=ModelCard)


def build_card(
    *,
    name: str,
    files: tuple[ModelFile, ...],
    source: str,
    licence: str,
    found: Inspection,
    entry: CatalogueEntry | None = None,
    base: str | None = None,
) -> ModelCard:
    """What the files say (found), with what only the catalogue or the source knows (licence, tasks, languages)."""
    return ModelCard(
        name=name,
        version=version_of(files),
        family=found.family,
        format=found.format,
        architecture=found.architecture,
        files=files,
        source=source,
        licence=(entry.licence if entry else licence or found.licence) or "unknown",
        parameters=found.parameters,
        context_length=found.context_length,
        quantization=found.quantization,
        memory_bytes=found.memory_bytes,
        embedding_dim=found.embedding_dim,
        chat_template_sha256=found.chat_template_sha256,
        tasks=entry.tasks if entry else found.tasks,
        languages=entry.languages if entry else found.languages,
        labels=found.labels,
        base=base,
        created_at=now(),
        kv_bytes_per_token=found.kv_bytes_per_token,
        extra=dict(found.extra),
    )


def remote_card(model: str, base_url: str) -> ModelCard:
    """A model behind an OpenAI-compatible endpoint. It has no files; what it is behind its name is not known."""
    return ModelCard(
        name=f"remote:{model}",
        version=hashlib.sha256(f"{base_url}\n{model}".encode()).hexdigest(),
        family=Family.REMOTE,
        format="remote",
        architecture="remote",
        files=(),
        source=base_url,
        tasks=REMOTE_TASKS,
        extra={"model": model, "base_url": base_url},
    )
