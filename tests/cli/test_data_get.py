"""`llmos data get` and `llmos data stats`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.data.catalogue import entries
from llmos.settings import Settings
from tests.cli.conftest import CLI


@pytest.fixture
def own(cli: CLI, tmp_path: Path) -> Any:
    """own("get") with a home of the test's own, in which BBC news are already, two of them."""
    home = tmp_path / "home"
    folder = entries()["bbc-news"].place(Settings.from_env({"LLMOS_HOME": str(home)}))
    for label in ("tech", "sports"):
        (folder / label).mkdir(parents=True)
        (folder / label / "001.txt").write_text(f"About {label}.\n\nIndeed.")

    def run(*arguments: str, code: int = 0) -> Any:
        return cli("data", *arguments, code=code, env={"LLMOS_HOME": str(home)})

    return run


def test_what_there_is_and_what_it_is(own: Any) -> None:
    listed = {one["name"]: one for one in json.loads(own("get", "--json").stdout)["data"]}
    assert listed["bbc-news"]["here"] and not listed["brown"]["here"] and listed["spam-assassin"]["licence"] == "PDDL 1.0"
    assert "spam-assassin" in own("get").stdout
    assert "bbc-news" in own("get", "bbc-new", code=1).stderr


def test_a_folder_and_a_recipe_of_it(own: Any, tmp_path: Path) -> None:
    told = own("get", "bbc-news")
    assert (Path(told.stdout.strip()) / "tech" / "001.txt").is_file() and "path: get:bbc-news" in told.stderr
    copied = tmp_path / "copied"
    assert own("get", "bbc-news", "-o", str(copied)).stdout.strip() == str(copied)
    assert (copied / "sports" / "001.txt").is_file()
    assert "is there already" in own("get", "bbc-news", "-o", str(copied), code=1).stderr

    recipe = tmp_path / "news.yaml"
    recipe.write_text("name: news\nsources: [{path: get:bbc-news}]\nprocess: [normalise_whitespace]\nexecutor: inline\n")
    own("run", str(recipe))
    found = json.loads(own("stats", "news", "--json").stdout)
    columns = {one["name"]: one for one in found["columns"]}
    assert found["rows"] == 2 and columns["label"]["evenness"] == 1.0 and columns["text"]["words"]["total"] == 6
    shown = own("stats", "news").stdout
    assert "label: 2 different values" in shown and "50.00%" in shown
