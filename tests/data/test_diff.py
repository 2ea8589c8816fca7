"""What is different between two versions, and why."""

from __future__ import annotations

import json
from pathlib import Path

from llmos.data.diff import diff
from tests.data.made import made, source, store


def test_rows_recipes_and_reasons(tmp_path: Path) -> None:
    datasets, path = store(tmp_path), source(tmp_path / "in")
    a = made(datasets, path)
    b = made(datasets, path, ["lowercase", {"text_length": {"min_chars": 60, "max_chars": 61}}], seed=5)
    told = json.loads(json.dumps(diff(a, b)))
    assert (told["a"]["dataset"], told["b"]["dataset"]) == (a.ref, b.ref)
    assert told["a"]["rows"] == told["same"] + told["changed"]["rows"] + told["only_a"]["rows"]
    assert told["b"]["rows"] == told["same"] + told["changed"]["rows"] + told["only_b"]["rows"]
    assert {(one["step"], one["signal"]) for one in told["only_a"]["reasons"]} == {("1:text_length", "chars")}
    assert [(one["step"], one["signal"], one["examples"]) for one in told["only_b"]["reasons"]] == [
        ("2:exact_dedup", "duplicate", ["in.jsonl#23"])
    ]
    example = told["changed"]["columns"]["text"]["examples"][0]
    assert example["a"].startswith("A sentence") and example["b"].startswith("a sentence")
    assert told["recipe"]["fields"] == {"seed": [0, 5]}
    assert "- exact_dedup" in told["recipe"]["steps"] and "+ lowercase" in told["recipe"]["steps"]
    assert told["sources"] == []


def test_a_version_and_itself(tmp_path: Path) -> None:
    one = made(store(tmp_path), source(tmp_path / "in"))
    told = diff(one, one)
    assert told["same"] == one.num_rows and told["recipe"]["same"]
    assert told["changed"] == {"rows": 0, "columns": {}} and told["only_a"]["rows"] == told["only_b"]["rows"] == 0


def test_other_columns_and_nested_values(tmp_path: Path) -> None:
    datasets = store(tmp_path)
    first = [{"text": "a", "tags": ["x"], "n": 1}, {"text": "b", "tags": ["y"], "n": 2}]
    second = [{"text": "a", "tags": ["z"], "n": "1"}, {"text": "b", "tags": ["y"], "m": 1.5}]
    a, b = (made(datasets, tmp_path, [], sources=[{"rows": rows}]) for rows in (first, second))
    told = diff(a, b)
    assert told["changed"]["columns"]["tags"]["examples"] == [{"_id": "rows#1", "a": ["x"], "b": ["z"]}]
    assert set(told["columns"]["only_b"]) == {"m"} and set(told["columns"]["types"]) == {"n"}
    assert len(told["sources"]) == 2 and told["recipe"]["steps"] == []


def test_rows_that_were_packed_are_not_unread(tmp_path: Path) -> None:
    datasets, rows = store(tmp_path), [{"input_ids": [1, 2], "text": "a"}, {"input_ids": [3], "text": "b"}]
    a, b = (made(datasets, tmp_path, process, sources=[{"rows": rows}]) for process in ([], [{"pack": {"length": 4}}]))
    told = diff(a, b)
    assert [(one["action"], one["step"], one["rows"]) for one in told["only_a"]["reasons"]] == [("grouped", "0:pack", 2)]
