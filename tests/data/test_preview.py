"""A dry run says what would be read, done and come out, shows rows after every step, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmos.data.preview import around, preview
from llmos.data.run import Run
from llmos.errors import InvalidValue, NotFound
from tests.data.made import PROCESS, made, recipe, source, store


def test_plan_estimate_and_rows(tmp_path: Path) -> None:
    datasets, path = store(tmp_path), source(tmp_path / "in")
    told = json.loads(json.dumps(preview(Run(recipe=recipe(path), datasets=datasets))))
    [one] = told["sources"]
    assert (one["ref"], one["format"], one["bytes"]) == ("in.jsonl", "jsonl", path.stat().st_size)
    assert told["columns"] == {"text": "String", "n": "Int64"}
    assert [stage["decides"] and stage["decides"]["step"] for stage in told["stages"]] == ["2:exact_dedup", None]
    assert [one["_id"] for one in told["read_errors"]] == ["in.jsonl#25"]
    assert told["first"][0]["_id"] == "in.jsonl#1"
    clean, length, dedup = told["steps"]
    assert clean["num_changed"] == 1 and clean["changed"][0]["_id"] == "in.jsonl#21"
    assert (length["num_dropped"], length["dropped"][0]["row"]["text"]) == (2, "short")
    assert (dedup["rows_in"], dedup["rows_out"]) == (23, 22)
    estimate = told["estimate"]
    version = made(datasets, path)
    assert (estimate["rows"], estimate["kept_rows"]) == (25, version.num_rows)
    assert estimate["output_bytes"] > 0 and estimate["seconds"] is not None


def test_it_writes_nothing(tmp_path: Path) -> None:
    datasets, path = store(tmp_path / "home"), source(tmp_path / "in")
    before = sorted((tmp_path / "home").rglob("*"))
    preview(Run(recipe=recipe(path), datasets=datasets))
    assert sorted((tmp_path / "home").rglob("*")) == before and datasets.list() == []


def test_a_step_with_a_model_is_not_run(tmp_path: Path) -> None:
    process = [*PROCESS, {"perplexity": {"model": "nobody", "at_most": 5}}]
    told = preview(Run(recipe=recipe(source(tmp_path / "in"), process), datasets=store(tmp_path)))
    assert "asks a model" in told["steps"][-1]["note"] and told["estimate"]["seconds"] is None


def test_mistakes_are_told_before_anything_runs(tmp_path: Path) -> None:
    path, datasets = source(tmp_path / "in"), store(tmp_path)
    with pytest.raises(InvalidValue, match="min_char"):
        preview(Run(recipe=recipe(path, [{"text_length": {"min_char": 3}}]), datasets=datasets))
    with pytest.raises(NotFound, match="no file"):
        preview(Run(recipe=recipe(tmp_path / "nothing.jsonl"), datasets=datasets))


def test_long_texts_are_shown_around_their_first_difference() -> None:
    before = "x" * 1000 + "OLD" + "y" * 1000
    told = around(before, before.replace("OLD", "NEW"), 100)
    assert "OLD" in told["before"] and "NEW" in told["after"] and len(told["before"]) < 120
