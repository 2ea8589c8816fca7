"""Models that Ollama has on this machine, used where they lie (OLLAMA_MODELS, default ~/.ollama/models).

Its store is a container registry's: manifests/<host>/<namespace>/<name>/<tag> is JSON with layers, blobs/sha256-<hash> holds
them. The model layer is a GGUF file; Ollama's own Go templates are not read, the chat template inside the GGUF is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, NotFound, did_you_mean
from llmos.library.names import Reference, slug
from llmos.library.sources.base import Access, Plan, RemoteFile, Source, sources

_MODEL = "application/vnd.ollama.image.model"
_MAX_MANIFEST_BYTES = 1 << 20


@sources.register("ollama")
class OllamaSource(Source):
    where = "the Ollama store"

    def plan(self, reference: Reference, access: Access) -> Plan:
        store = access.settings.ollama_models
        manifest = _manifest_path(store, reference)
        if not manifest.is_file():
            raise NotFound(
                f"Ollama has no model {reference.place}:{reference.revision} in {store}.", param="model", hint=_hint(store)
            )
        layers = [layer for layer in _layers(manifest) if layer.get("mediaType") == _MODEL]
        digests = [str(layer.get("digest", "")).removeprefix("sha256:") for layer in layers]
        if len(digests) != 1 or len(digests[0]) != 64 or not digests[0].isalnum():
            raise CorruptFile(f"The manifest {manifest} names {len(digests)} model layers; one is wanted.")
        blob = store / "blobs" / f"sha256-{digests[0]}"
        if not blob.is_file():
            raise CorruptFile(f"The Ollama store lacks {blob}.", hint=f"Fetch it again: ollama pull {reference.place}")
        name = slug(f"{reference.place.rsplit('/', 1)[-1]}-{reference.revision}") + ".gguf"
        file = RemoteFile(path=name, sha256=digests[0], size_bytes=blob.stat().st_size, local=blob, in_place=True)
        return Plan(source=str(reference), files=(file,))


def _manifest_path(store: Path, reference: Reference) -> Path:
    segments = reference.place.split("/")
    defaults = ["registry.ollama.ai", "library"]
    return store.joinpath("manifests", *defaults[: 3 - len(segments)], *segments, reference.revision)


def _layers(manifest: Path) -> list[dict[str, Any]]:
    if manifest.stat().st_size > _MAX_MANIFEST_BYTES:
        raise CorruptFile(f"The manifest {manifest} has more than {_MAX_MANIFEST_BYTES:,} bytes.")
    try:
        layers = json.loads(manifest.read_bytes())["layers"]
    except (ValueError, KeyError, TypeError) as problem:
        raise CorruptFile(f"The manifest {manifest} is not readable: {problem!r}.") from None
    return [layer for layer in layers if isinstance(layer, dict)]


def installed(store: Path) -> list[str]:
    """name:tag of each model in the store, sorted."""
    root = store / "manifests"
    found = [path.relative_to(root).parts for path in root.rglob("*") if path.is_file()]
    short = [parts[2:] if parts[:2] == ("registry.ollama.ai", "library") else parts for parts in found if len(parts) >= 3]
    return sorted("/".join(parts[:-1]) + ":" + parts[-1] for parts in short)


def _hint(store: Path) -> str:
    names = installed(store)
    return did_you_mean("", names) if names else "Set OLLAMA_MODELS when the store lies elsewhere."
