"""Models that Ollama has on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.errors import CorruptFile, NotFound
from llmos.library.library import Library
from llmos.library.sources.ollama import installed
from tests.hub.server import sha256


@pytest.fixture
def store(library: Library, asset: Callable[[str], Path]) -> Path:
    """An Ollama store with SmolLM2 as smollm2:135m, laid out as Ollama does."""
    model, folder = asset("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf", library.settings.ollama_models
    digest = sha256(model)
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / f"sha256-{digest}").symlink_to(model)
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / "smollm2" / "135m"
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": model.stat().st_size},
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64, "size": 1},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return folder


def test_taken_over_without_a_copy(library: Library, store: Path) -> None:
    card = library.import_ollama("smollm2:135m")
    assert (card.name, card.architecture, card.files[0].path) == ("smollm2-135m", "llama", "smollm2-135m.gguf")
    assert library.resolve("ollama:smollm2:135m").card == card
    assert library.store.blobs.path(card.files[0].sha256).is_symlink()
    assert library.import_ollama("smollm2:135m", as_name="mine").name == "mine"
    assert installed(store) == ["smollm2:135m"]


def test_unknown_and_damaged(library: Library, store: Path) -> None:
    with pytest.raises(NotFound, match="Known: smollm2:135m"):
        library.import_ollama("qwen3")
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "smollm2" / "135m"
    manifest.write_text("{}")
    with pytest.raises(CorruptFile, match="not readable"):
        library.import_ollama("smollm2:135m")
    manifest.write_text(json.dumps({"layers": []}))
    with pytest.raises(CorruptFile, match="0 model layers"):
        library.import_ollama("smollm2:135m")
