"""What is asked of dataset versions: nothing is downloaded where that was not asked for, and no project hears of another's jobs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from llmos.data.catalogue import entry
from llmos.data.jobs import bring_public, check_fetched, strangers
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.service import DatasetService
from llmos.data.store import Datasets
from llmos.errors import InvalidValue, NotFound, Unreachable
from llmos.infra.database import open_database
from llmos.plugins import load_plugins
from llmos.settings import Settings

NAME = "gsm8k-mini"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    load_plugins()
    return Settings.from_env({"LLMOS_HOME": str(tmp_path)})


def brought(settings: Settings) -> Path:
    """The data of the catalogue as if it had been fetched."""
    folder = entry(NAME).place(settings)
    folder.mkdir(parents=True)
    (folder / "gsm8k.jsonl").write_text('{"text": "One and one?"}\n{"text": "TWO and two?"}\n')
    return folder


def recipe(**source: str) -> Recipe:
    return Recipe.build({"sources": [source], "process": ["lowercase"], "executor": "inline"})


def test_a_source_that_must_be_fetched_is_named(settings: Settings) -> None:
    for given, field in (
        (recipe(path=f"get:{NAME}"), "sources.0.path"),
        (recipe(url="https://user:secret@example.org/a.jsonl?token=secret"), "sources.0.url"),
        (recipe(path="s3://bucket/key"), "sources.0.path"),
        (
            Recipe.build({"sources": [{"rows": []}], "process": [{"decontaminate": {"against": [{"path": f"get:{NAME}"}]}}]}),
            "contaminate.path",
        ),
    ):
        with pytest.raises(InvalidValue, match="downloads nothing") as problem:
            check_fetched(given, settings)
        assert str(problem.value.param).endswith(field) and "secret" not in str(problem.value) and problem.value.hint
    with pytest.raises(NotFound, match=NAME):
        check_fetched(recipe(path=f"get:{NAME}s"), settings)
    brought(settings)
    check_fetched(recipe(path=f"get:{NAME}"), settings)
    check_fetched(recipe(path=str(settings.home)), settings)


def test_public_data_comes_from_the_mirror_of_the_machine(settings: Settings) -> None:
    """Also for a recipe from the network, which runs without the origins that the machine trusts."""
    mirrored = settings.model_copy(update={"pypi_index": "http://127.0.0.1:9/simple"})
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        bring_public(recipe(path=f"get:{NAME}"), mirrored)
    assert "127.0.0.1" not in str(strangers(mirrored).pypi_index)
    brought(settings)
    bring_public(recipe(path=f"get:{NAME}"), mirrored)


def test_why_replays_what_is_here_and_fetches_nothing(settings: Settings) -> None:
    folder, database = brought(settings), open_database(settings)
    Run(recipe=recipe(path=f"get:{NAME}"), datasets=Datasets(settings, database)).execute()
    service = DatasetService(settings, database, None)
    told = service.why("gsm8k.jsonl#2", fetch=False)
    assert told["replay"]["steps"][0]["changed"]["text"]["after"] == "two and two?" and told["replay"]["note"] == ""
    shutil.rmtree(folder)
    again = service.why("gsm8k.jsonl#2", fetch=False)
    assert "downloads nothing" in again["replay"]["note"] and again["lines"] == told["lines"]
    assert not folder.exists() and service.why("gsm8k.jsonl#2", replay=False, fetch=False)["replay"] is None
    database.close()


def test_infinity_is_no_number_of_json(settings: Settings) -> None:
    database = open_database(settings)
    path = settings.home / "a.parquet"
    pl.DataFrame({"text": ["a", "b", "c", "d"], "x": [1.0, float("inf"), float("nan"), 3.0]}).write_parquet(path)
    process = [{"field_range": {"field": "x", "min_value": 0}}]
    made = Recipe.build({"sources": [{"path": str(path)}], "process": process, "executor": "inline"})
    version = Run(recipe=made, datasets=Datasets(settings, database)).execute()
    service = DatasetService(settings, database, None)
    told = {name: getattr(service, name)(version.ref) for name in ("statistics", "report", "show", "rows")}
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    numbers = told["statistics"]["columns"][1]["numbers"]
    assert (numbers["rows"], numbers["mean"], numbers["max"], numbers["nan"]) == (2, 2.0, 3.0, 1)
    assert [one["mean"] for one in told["report"]["steps"][0]["signals"] if one["signal"] == "value"] == [None]
    database.close()


def test_a_job_of_another_project_is_not_told(settings: Settings) -> None:
    """Two projects with the same rows have the same version, and its files know who was first."""
    database = open_database(settings)
    same = Recipe.build({"name": "same", "sources": [{"rows": [{"text": "a"}]}], "executor": "inline"})
    for project in ("red", "blue"):
        Run(recipe=same, datasets=Datasets(settings, database, project), job_id=f"job_{project}").execute()
    ids = {project: DatasetService(settings, database, project).list()[0]["job_id"] for project in ("red", "blue")}
    assert ids == {"red": "", "blue": ""}  # neither is a job of the project that the database knows
    assert {one["job_id"] for one in DatasetService(settings, database, None).list()} == {"job_red"}
    database.close()
