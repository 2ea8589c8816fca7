"""Several files and sources in one recipe: every row has an id of its own, no column is lost, what cannot go together is told by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmos.data.inputs import SAMPLED_FILES
from llmos.data.why import why
from llmos.errors import InvalidValue
from tests.data.made import store
from tests.data.running import run


def jsonl(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(home: Path, *sources: Mapping[str, Any], process: tuple[Any, ...] = (), name: str = "made") -> pl.DataFrame:
    return run(home, [], process, sources=list(sources), name=name).scan().collect()


# -- ids -----------------------------------------------------------------------------------------------------------------
def test_a_version_beside_the_file_it_was_made_of(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "mails.jsonl", {"text": "a"}, {"text": "b"})
    rows_of(tmp_path, {"path": str(path)}, name="mails")
    for sources in (({"dataset": "mails"}, {"path": str(path)}), ({"path": str(path)}, {"dataset": "mails"})):
        ids = rows_of(tmp_path, *sources, name="both")["_id"].to_list()
        assert ids == ["mails.jsonl#1", "mails.jsonl#2", "1:mails.jsonl#1", "1:mails.jsonl#2"]


def test_versions_made_of_versions(tmp_path: Path) -> None:
    for name in "abc":
        rows_of(tmp_path, {"path": str(jsonl(tmp_path / name / "day.jsonl", {"text": name}))}, name=name)
    rows_of(tmp_path, {"dataset": "a"}, {"dataset": "b"}, name="ab")
    made = rows_of(tmp_path, {"dataset": "ab"}, {"dataset": "c"}, name="abc")
    assert made["_id"].to_list() == ["day.jsonl#1", "1:day.jsonl#1", "2:day.jsonl#1"] and made["text"].to_list() == ["a", "b", "c"]
    datasets = store(tmp_path)
    version = datasets.get("abc")
    for identity, ref, text in (("2:day.jsonl#1", "c", "c"), ("1:day.jsonl#1", "ab", "b"), ("day.jsonl#1", "ab", "a")):
        [before] = why(version, identity, datasets)["before"]
        assert before["dataset"].startswith(f"{ref}@") and before["row"]["text"] == text


def test_a_column_of_ids_is_text(tmp_path: Path) -> None:
    given = rows_of(tmp_path, {"rows": [{"_id": "first", "text": "a"}, {"_id": None, "text": "b"}]})
    assert given["_id"].to_list() == ["first", "rows#2"]
    foreign = [{"_id": {"$oid": "5f"}, "text": "a"}]
    with pytest.raises(InvalidValue, match=r"rows: The column _id is the id .* columns: {id: _id}"):
        rows_of(tmp_path, {"rows": foreign})
    with pytest.raises(InvalidValue, match=r"it holds Int64"):
        rows_of(tmp_path, {"rows": [{"_id": 1, "text": "a"}]})
    named = rows_of(tmp_path, {"rows": foreign, "columns": {"id": "_id"}})
    assert named.select("_id", "id").rows() == [("rows#1", {"$oid": "5f"})]


# -- columns -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tagged", [0, 1])
def test_a_tag_of_one_source_is_an_empty_column_of_the_other(tagged: int, tmp_path: Path) -> None:
    sources: list[dict[str, Any]] = [{"rows": [{"text": "a"}]}, {"rows": [{"text": "b"}]}]
    sources[tagged]["tag"] = "web"
    assert rows_of(tmp_path, *sources)["source"].to_list() == [None, "web"][:: -1 if tagged == 0 else 1]


def test_a_tag_beside_a_column_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"'source' holds Int64 .* columns: {other_source: source}"):
        rows_of(tmp_path, {"rows": [{"text": "a", "source": 1}]}, {"rows": [{"text": "b"}], "tag": "web"})
    kept = rows_of(tmp_path, {"rows": [{"text": "a", "source": "own"}]}, {"rows": [{"text": "b"}], "tag": "web"})
    assert kept["source"].to_list() == ["own", "web"]


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_a_column_of_one_file_of_many_is_kept(format: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2 * SAMPLED_FILES + 2):
        row = {"text": f"text {number}"} | ({"language": "en"} if number == 1 else {})
        path = folder / f"{number:04}.{format}"
        if format == "parquet":
            pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)
        elif format == "csv":
            path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
        else:
            jsonl(path, row)
    [row] = rows_of(tmp_path, {"path": str(folder)}).filter(pl.col("text") == "text 1").to_dicts()
    assert row.get("language") == "en" or json.loads(row["_extra"]) == {"language": "en"}


@pytest.mark.parametrize("empty", [{"n": None, "tags": [], "more": {}}, {"more": {"a": None}}])
def test_a_file_without_values_goes_with_one_that_has_some(empty: dict[str, Any], tmp_path: Path) -> None:
    full = {"text": "b", "n": 1, "tags": [2], "more": {"a": 1.5}}
    jsonl(tmp_path / "in" / "a.jsonl", {"text": "a"} | empty)
    jsonl(tmp_path / "in" / "b.jsonl", full)
    (tmp_path / "in" / "c.csv").write_text("text,n\nc,\n")
    made = rows_of(tmp_path, {"path": str(tmp_path / "in")})
    assert made["n"].to_list() == [None, 1, None] and made["tags"].to_list()[1] == [2]
    assert made["more"].to_list()[1] == {"a": 1.5} and made.schema["more"] == pl.Struct({"a": pl.Float64})


def test_files_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["a"], "at": [datetime(2026, 1, 2)]}), folder / "a.parquet")
    jsonl(folder / "b.jsonl", {"text": "b", "at": "yesterday"})
    with pytest.raises(InvalidValue, match=r"b\.jsonl holds other things .* Field at .*timestamp.* vs .*string"):
        rows_of(tmp_path, {"path": str(folder)})
    with pytest.raises(InvalidValue, match=r"The column 'at' holds Datetime.* in one source and String in another"):
        rows_of(tmp_path, {"path": str(folder / "a.parquet")}, {"path": str(folder / "b.jsonl")})


def test_a_number_that_has_no_room_is_told_with_its_file_and_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": pa.array([2**64 - 1], pa.uint64())}), tmp_path / "large.parquet")
    with pytest.raises(InvalidValue, match=r"large\.parquet: Not all values .* column 'n'"):
        rows_of(tmp_path, {"path": str(tmp_path / "large.parquet")}, {"rows": [{"text": "b", "n": -1}]})


# -- nothing at all ------------------------------------------------------------------------------------------------------
DECIDING: list[Any] = [
    "exact_dedup", "minhash_dedup", {"minhash_dedup": {"threshold": 0.5}}, "line_dedup", "url_dedup", "rouge_l_dedup", "split",
    {"sample": {"rows": 2}}, {"sample": {"fraction": 0.5, "by": "n"}}, {"mix": {"by": "n"}}, {"top_by_field": {"field": "n", "num": 2}},
    {"range_by_field": {"field": "n"}}, {"frequent_values": {"field": "n", "num": 2}},
]  # fmt: skip


@pytest.mark.parametrize("step", DECIDING, ids=str)
def test_no_rows_and_no_files(step: Any, tmp_path: Path) -> None:
    row = {"text": "some words", "url": "https://example.org", "n": 1}
    empty = run(tmp_path, [row], [{"text_length": {"min_chars": 100}}, step], name="empty")
    assert empty.num_rows == 0 and empty.ledger().collect().height == 1
    assert rows_of(tmp_path, {"dataset": "empty"}, process=(step,), name="again").height == 0
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.parquet").write_bytes(b"PAR1 and nothing else")
    damaged = run(tmp_path, [], [step], sources=[{"path": str(folder)}], name="damaged")
    assert damaged.num_rows == 0 and damaged.ledger().collect()["signal"].to_list() == ["file", "file"]
