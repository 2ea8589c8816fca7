"""Libraries of the tests' own, with a hub that is there or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.infra.database import Database, open_database
from llmos.infra.fetch import Fetcher
from llmos.library.library import Library
from llmos.settings import Settings
from tests.hub.server import Hub

NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody answers


@pytest.fixture
def make_library(tmp_path: Path) -> Iterator[Callable[..., Library]]:
    """make_library(HF_ENDPOINT=…, …) -> a library in this test's home, where no variable of the machine counts."""
    opened: list[Database] = []

    def make(**environ: str) -> Library:
        base = {"LLMOS_HOME": tmp_path / "home", "HF_HOME": tmp_path / "hf", "OLLAMA_MODELS": tmp_path / "ollama"}
        urls = dict.fromkeys(("HF_ENDPOINT", "MODELSCOPE_ENDPOINT", "LLMOS_PYPI_INDEX"), NOWHERE)
        settings = Settings.from_env({**{name: str(path) for name, path in base.items()}, **urls, **environ})
        opened.append(open_database(settings))
        return Library(settings, database=opened[-1], fetcher=Fetcher(settings, pause_s=0.01))

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def library(make_library: Callable[..., Library]) -> Library:
    """Offline."""
    return make_library()


@pytest.fixture
def hub_library(make_library: Callable[..., Library], hub: Hub) -> Iterator[Library]:
    hub.seen.clear()
    yield make_library(HF_ENDPOINT=hub.url, MODELSCOPE_ENDPOINT=hub.url)
    hub.faults.cut.clear()
    hub.faults.swap.clear()
