"""Fixtures of the infrastructure tests: web servers of our own and a fetcher that may reach one of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmos.infra.fetch import Fetcher
from llmos.settings import Settings
from tests.infra.web import Web


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the developer's machine must not take part."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Web]:
    """A second origin."""
    server = Web()
    yield server
    server.close()


@pytest.fixture
def fetcher(settings: Settings, web: Web) -> Iterator[Fetcher]:
    """Trusts `web` only; small chunks, no pauses."""
    with Fetcher(settings, trusted_origins=[web.url], pause_s=0.0, chunk_bytes=1000) as door:
        yield door
