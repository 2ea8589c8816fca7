"""A home that has the files of the language tools, from the packages that carry them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.settings import Settings
from llmos.text.nlp import Analyser, analysers
from llmos.text.nlp.brown import Tagged, paragraphs
from llmos.text.nlp.english import English
from llmos.text.nlp.resources import place
from llmos.text.nlp.training import train
from tests import assets


@pytest.fixture(scope="session")
def brown() -> list[Tagged]:
    """The sentences of the Brown corpus."""
    try:
        archive = next(assets.brown().iterdir())
    except OSError as problem:
        pytest.skip(f"the Brown corpus could not be fetched: {problem}")
    return [sentence for _, found in paragraphs(archive) for sentence in found]


@pytest.fixture(scope="session")
def small_english(brown: list[Tagged]) -> English:
    """The English analyser, trained on every tenth sentence only: seconds instead of a minute."""
    return English(train(brown[::10], num_epochs=3))


@pytest.fixture(scope="session")
def with_files(tmp_path_factory: pytest.TempPathFactory, asset: Callable[[str], Path]) -> Settings:
    """Settings with a home that has LAC and the language identifier."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path_factory.mktemp("home"))})
    for name in ("lac", "lid.176"):
        link = place(name, settings)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(asset(name))
    return settings


@pytest.fixture(params=["english", "jieba", "lac", "plain", "spacy"])
def analyser(request: pytest.FixtureRequest, with_files: Settings, asset: Callable[[str], Path]) -> Analyser:
    """Each analyser; spaCy where it is installed."""
    if request.param == "english":
        found: Analyser = request.getfixturevalue("small_english")
        return found
    if request.param == "spacy":
        if not importlib.util.find_spec("spacy"):
            pytest.skip("spaCy is not installed")
        if not place("spacy-en", with_files).exists():
            place("spacy-en", with_files).symlink_to(asset("spacy-en"))
    return loaded(request.param, with_files)


_LOADED: dict[str, Analyser] = {}


def loaded(name: str, settings: Settings) -> Analyser:
    """Opened once in a session."""
    if name not in _LOADED:
        _LOADED[name] = analysers.get(name).load(settings)
    return _LOADED[name]
