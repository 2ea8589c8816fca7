"""One live server over doubles for the whole folder; tests that need other settings start their own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from llmos.engine.pool import Pool
from llmos.settings import Settings
from tests.doubles import fake_cards
from tests.server.live import Live, ServedLibrary, live


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_DEFAULT_MODEL": "fake", "LLMOS_NUM_THREADS": "2"})
    pool = Pool(settings, ServedLibrary(folder / "fake-model", fake_cards()), inline=True)
    with live(settings, pool) as running:
        yield running


@pytest.fixture
def client(served: Live) -> httpx.Client:
    return served.client
