"""Every row that a step drops or changes is in the ledger, with what was measured and the limit that it was held against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmos.data.preview import preview
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Version
from llmos.data.why import why
from llmos.errors import InvalidValue
from tests.data.made import store
from tests.data.running import run

MENU = "Home | Products | About this company"
MENUS: list[dict[str, Any]] = [{"text": f"{MENU}\nThe text number {name} has a line of its own."} for name in ("one", "two")]


def told(version: Version, action: str) -> list[tuple[Any, ...]]:
    return (
        version.ledger().filter(pl.col("action") == action).select("_id", "step", "signal", "value", "threshold").collect().rows()
    )


def test_a_converted_row_is_changed(tmp_path: Path) -> None:
    rows = [{"instruction": "Say a.", "input": "", "output": "a"}]
    made = run(tmp_path, rows, [{"convert": {"source": "alpaca", "to": "messages"}}])
    assert made.scan().collect_schema().names() == ["_id", "_extra", "messages"]
    assert [line[:3] for line in told(made, "changed")] == [("rows#1", "0:convert", "chars")]


def test_a_column_that_is_written_over_is_told(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "split": "own" if number else "train"} for number in range(2)]
    made = run(tmp_path / "1", rows, [{"split": {"shares": {"train": 1.0}}}])
    assert made.scan().collect()["split"].to_list() == ["train", "train"]
    assert [line[:3] for line in told(made, "changed")] == [("rows#2", "0:split", "split")]
    assert made.manifest["tally"]["steps"]["0:split"]["changed"] == 1
    measured: list[dict[str, Any]] = [{"text": "abc", "chars": 3}, {"text": "abcd", "chars": 7}, {"text": "a", "chars": 9}]
    made = run(tmp_path / "2", measured, [{"text_length": {"min_chars": 2}}], keep_signals=True)
    assert made.scan().collect()["chars"].to_list() == [3, 4]
    assert [line[:3] for line in told(made, "changed")] == [("rows#2", "0:text_length", "chars")]


def test_the_limit_is_that_of_the_row(tmp_path: Path) -> None:
    rows = [{"text": str(number), "n": number, "label": "b" if number >= 90 else "a"} for number in range(100)]
    sampled = run(tmp_path / "1", rows, [{"sample": {"fraction": 0.5, "by": "label"}}])
    assert sorted({line[4] for line in told(sampled, "dropped")}) == [5.0, 45.0]
    assert all(value >= limit for *_, value, limit in told(sampled, "dropped"))
    ranged = run(tmp_path / "2", rows[:10], [{"range_by_field": {"field": "n", "lower_rank": 2, "upper_rank": 8}}])
    assert [line[3:] for line in told(ranged, "dropped")] == [(0.0, 2.0), (1.0, 2.0), (8.0, 8.0), (9.0, 8.0)]


def test_what_could_not_be_compared_with_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "damaged.parquet").write_bytes(b"PAR1 and nothing else")
    decontaminate = {"decontaminate": {"against": [{"path": str(folder)}], "ngram": 2}}
    rows = [{"text": "one two three"}, {"text": "four five six"}]
    with pytest.raises(InvalidValue, match=r"0:decontaminate has nothing to compare with: damaged\.parquet"):
        run(tmp_path, rows, [decontaminate])
    (folder / "good.jsonl").write_text('{"text": "two three"}\n{broken\n')
    made = run(tmp_path, rows, [decontaminate])
    assert made.manifest["tally"]["errors"] == 2 and made.num_rows == 1
    lines = [("damaged.parquet", "0:decontaminate", "file"), ("good.jsonl#2", "0:decontaminate", "unreadable")]
    assert [line[:3] for line in told(made, "error")] == lines


def test_a_dry_run_shows_what_a_decision_changes(tmp_path: Path) -> None:
    recipe = Recipe.build({"sources": [{"rows": MENUS}], "process": ["line_dedup"]})
    shown = json.loads(json.dumps(preview(Run(recipe=recipe, datasets=store(tmp_path)))))
    [step] = shown["steps"]
    assert step["num_changed"] == 1 and step["added"] == []
    assert step["rows"][1]["text"] == "The text number two has a line of its own."


def test_a_replay_ends_where_other_rows_changed_this_one(tmp_path: Path) -> None:
    made = run(tmp_path, MENUS, ["line_dedup", {"text_length": {"min_chars": 60}}])
    story = why(made, "rows#2", store(tmp_path))
    assert story["outcome"] == "dropped" and [step["step"] for step in story["replay"]["steps"]] == ["0:line_dedup"]
    assert "0:line_dedup changed the row" in story["replay"]["note"]
    whole = why(made, "rows#1", store(tmp_path))
    assert [step["step"] for step in whole["replay"]["steps"]] == ["0:line_dedup", "1:text_length"]


@pytest.mark.parametrize("keep", [True, False])
def test_no_row_is_kept_when_none_shall_be(keep: bool, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "fine"}\n{"text": null, "mail": "ann@example.org"}\n{"mail": "bob@example.org"\n{"text": "x"}\n')
    made = run(tmp_path, [], [{"text_length": {"min_chars": 2}}], sources=[{"path": str(path)}], keep_dropped=keep)
    lines = made.ledger().select("_id", "action", "row").collect()
    assert sorted(lines["_id"].to_list()) == ["in.jsonl#2", "in.jsonl#3", "in.jsonl#4"]
    assert (lines["row"].null_count() == 0) if keep else (lines["row"].null_count() == 3)
