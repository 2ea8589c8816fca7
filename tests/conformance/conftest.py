"""A live server with real models in engine processes of their own: SmolLM2 for text, MiniLM for vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.engine.pool import Pool
from llmos.library.library import Library
from llmos.plugins import load_plugins
from llmos.settings import Settings
from tests.server.live import Live, live

KEY = "llmos_conformance"
CHAT = "smollm2-135m-instruct"
EMBEDDER = "all-minilm-l6-v2"


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, asset: Callable[[str], Path]) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("conformance")
    settings = Settings.from_env(
        {
            "LLMOS_HOME": str(folder / "home"),
            "HF_HOME": str(folder / "hf"),
            "LLMOS_API_KEY": KEY,
            "LLMOS_PROBE": "false",
            "LLMOS_NUM_THREADS": "2",
            "LLMOS_DEFAULT_MODEL": CHAT,
        }
    )
    load_plugins()
    library = Library.open(settings)
    library.import_path(next(asset("smollm2").glob("*.gguf")), name=CHAT)
    library.import_path(asset("minilm"), name=EMBEDDER)
    library.alias("gpt-4o-mini", CHAT, reason="conformance")
    with live(settings, Pool(settings, library, inline=False)) as running:
        yield running
