"""Where a run's models come from: the pool it is given, the server of the home, or an engine of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmos.data.models import LibraryModels
from llmos.engine.broker import Broker
from llmos.errors import NotFound
from llmos.kernel.base import Priority
from llmos.settings import Settings
from llmos.types import Usage
from tests.data.asking import column
from tests.data.running import run
from tests.doubles import FakeLibrary, fake_card, fake_pool

PROCESS = [{"paraphrase": {"model": "fake", "max_tokens": 64}}, {"perplexity": {"model": "fake"}}]
ROWS = [{"text": "Some words."}, {"text": "Other words."}]


def test_the_engines_of_a_server_are_borrowed(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_PROBE": "0"})
    told: list[str] = []
    used: list[tuple[str, str]] = []

    def admit(tokens: int, whose: str) -> Callable[[int], None]:
        return lambda written: None

    def meter(whose: str, model: str, usage: Usage) -> None:
        used.append((whose, model))

    with fake_pool(settings, tmp_path, cards=[fake_card()]) as served:
        shop = Broker(settings.run_folder, lambda name, whose, shares: served.session(name, load=False), admit, meter)
        settings.run_folder.mkdir(parents=True, exist_ok=True)
        assert shop.start()
        try:
            library = FakeLibrary(tmp_path / "fake-model", [fake_card()])
            with LibraryModels(settings, library, whose="job_1", notify=told.append) as models:
                assert models.session("fake").priority == Priority.BATCH
                version = run(tmp_path, ROWS, PROCESS, models=models)
                assert models.session("fake") is models.session("fake")
        finally:
            shop.close()
        assert column(version, "text") == ["Some words.", "Hello world.", "Other words.", "Hello world."]
        assert told == ["Using the engines of the server that runs."]
        assert set(used) == {("job_1", "fake")}
        assert len(used) >= 3


def test_names_are_exact_and_pulled_only_when_wanted(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_PROBE": "0"})
    remote = fake_card("elsewhere", format="remote")
    library = FakeLibrary(tmp_path / "fake-model", [fake_card(), remote])
    with LibraryModels(settings, library) as models:
        assert models.exact("fake") == f"fake:{fake_card().version}"
        assert models.exact(models.exact("fake")) == models.exact("fake")
        assert models.exact("elsewhere") == "elsewhere"
        with pytest.raises(NotFound, match="nobody"):
            models.exact("nobody")
        assert library.asked == []
    with LibraryModels(settings, library, pull=lambda progress: None) as pulling:
        pulling.exact("fake")
        assert library.asked == ["fake"]


def test_another_version_of_a_model_is_another_stage(tmp_path: Path) -> None:
    """The name stays, the model changes: nothing of what was computed is used."""
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_PROBE": "0"})
    seen = []
    for version, answer in (("a" * 64, "Hello world."), ("b" * 64, "Good morning."), ("a" * 64, "Never asked.")):
        card = fake_card(version=version, extra={"answer": answer})
        with fake_pool(settings, tmp_path, cards=[card]) as pool, LibraryModels(settings, pool.library, pool=pool) as models:
            found = run(tmp_path, ROWS[:1], PROCESS[:1], models=models)
            seen.append((column(found, "text")[1], column(found, "model")[1]))
    assert seen == [("Hello world.", f"fake:{'a' * 12}"), ("Good morning.", f"fake:{'b' * 12}"), seen[0]]
