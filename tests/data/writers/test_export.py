"""Rows through every writer and back through the readers: the same rows, or a clear error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.data.readers.folders import card, local_files
from llmos.data.writers import all as _all  # noqa: F401
from llmos.data.writers.export import ExportResult, export
from llmos.errors import Conflict, InvalidValue
from tests.data.readers.reading import Reading

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
WORD = st.just("#") | st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)
FLAT = st.fixed_dictionaries(
    {
        "text": TEXT.map(lambda text: "t" + text),  # a column of numbers in quotes would come back as numbers from CSV
        "other": st.none() | TEXT.map(lambda text: text and "o" + text),
        "n": st.none() | st.integers(-(10**17), 10**17),
        "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans(),
    }
)
NESTED = st.fixed_dictionaries(
    {
        "text": TEXT,
        "list": st.none() | st.lists(TEXT, max_size=3),
        "object": st.fixed_dictionaries({"k": st.integers(0, 9)}, optional={"t": TEXT}),
        "turns": st.lists(st.fixed_dictionaries({"role": WORD, "content": TEXT}), max_size=3),
    }
)
SCHEMAS = {
    "flat": {"text": pl.String, "other": pl.String, "n": pl.Int64, "x": pl.Float64, "b": pl.Boolean},
    "nested": {
        "text": pl.String,
        "list": pl.List(pl.String),
        "object": pl.Struct({"k": pl.Int64, "t": pl.String}),
        "turns": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    },
}
AGAIN = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def frames(rows: list[dict[str, Any]], schema: Any = None, height: int = 3) -> Iterator[pl.DataFrame]:
    whole = pl.DataFrame(rows, schema=schema)
    yield from (whole[start : start + height] for start in range(0, max(1, whole.height), height))


def there(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is null: a key that is not there and null are the same."""
    return [_there(row) for row in rows]


def _there(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _there(one) for name, one in value.items() if one is not None and name != "_extra"}
    return [_there(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.json.xz", "a.parquet", "a.arrow", "a.csv", "a.tsv.bz2"]
)
@AGAIN
@given(rows=st.lists(FLAT, min_size=1, max_size=8))
def test_flat_rows(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    result = export(frames(rows, SCHEMAS["flat"]), tmp_path / name)
    found = Reading(tmp_path / name)
    if name.startswith(("a.csv", "a.tsv")):  # line ends in quotes are kept; a \r alone is one to nobody
        assert (found.problems, found.failure) == ([], "")
    assert there(found.rows) == there(rows)
    assert (result.num_rows, result.notes) == (len(rows), ())


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.arrow"])
@AGAIN
@given(rows=st.lists(NESTED, min_size=1, max_size=6))
def test_nested_rows(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    export(frames(rows, SCHEMAS["nested"]), tmp_path / name)
    found = Reading(tmp_path / name)
    assert [dict(row) for row in there(found.rows)] == there(rows) or name.startswith("a.json")
    if name.startswith("a.json"):  # an empty list says nothing of its items, so that a column of them is text to JSON
        empty = [{key: value for key, value in row.items() if value != []} for row in there(rows)]
        assert [{key: value for key, value in row.items() if value != []} for row in there(found.rows)] == empty or found.problems


@AGAIN
@given(texts=st.lists(LINE, min_size=1, max_size=8))
def test_text(tmp_path: Path, texts: list[str]) -> None:
    export(frames([{"text": text} for text in texts], {"text": pl.String}), tmp_path / "a.txt")
    assert [row["text"] for row in Reading(tmp_path / "a.txt").rows] == texts


@AGAIN
@given(rows=st.lists(st.lists(st.tuples(WORD, WORD, WORD), min_size=1, max_size=4), min_size=1, max_size=4))
def test_conll(tmp_path: Path, rows: list[list[tuple[str, str, str]]]) -> None:
    made = [dict(zip(("tokens", "pos", "tags"), map(list, zip(*row, strict=True)), strict=True)) for row in rows]
    export(frames(made), tmp_path / "a.conll")
    assert Reading(tmp_path / "a.conll").rows == made


@AGAIN
@given(rows=st.lists(st.tuples(LINE.map(str.strip), LINE.map(str.strip)), min_size=1, max_size=5))
def test_translations(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    made = [{"translation": {"en": one, "fr": other}} for one, other in rows]
    try:
        export(frames(made), tmp_path / "a.tmx")
        assert [row["translation"] for row in Reading(tmp_path / "a.tmx").rows] == [row["translation"] for row in made]
    except InvalidValue:
        assert any(letter in "\ufffe\uffff" for pair in rows for text in pair for letter in text)
    export(frames(made), f"{tmp_path}/pair/", format="moses")
    assert Reading(tmp_path / "pair" / "text.en", "moses").rows == made


def test_conllu_back_and_forth(tmp_path: Path) -> None:
    text = (
        "# sent_id = 1\n# text = vámonos\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n1\tvamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_\n"
        "2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n2.2\ty\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
        "0.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n1-2\tal\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\t_\tADP\t_\t_\t0\troot\t_\t_\n"
        "1.1\ty\t_\t_\t_\t_\t_\t_\t_\t_\n2\tel\t_\tDET\t_\t_\t1\tdet\t_\t_\n\n"
    )
    (tmp_path / "a.conllu").write_text(text)
    export(frames(Reading(tmp_path / "a.conllu").rows), tmp_path / "b.conllu")
    assert (tmp_path / "b.conllu").read_text() == text


def test_extra_goes_back_to_where_it_was(tmp_path: Path) -> None:
    row = {"_id": "f#1", "text": "a", "meta": {"x": 1}, "list": [{"k": 1}, {"k": 2}], "late": None}
    extra = {"meta": {"y": {"z": 2}}, "list": {"1": {"q": 3}}, "late": "now", "new": [1]}
    export(frames([{**row, "_extra": json.dumps(extra)}]), tmp_path / "a.jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "text": "a", "meta": {"x": 1, "y": {"z": 2}}, "list": [{"k": 1}, {"k": 2, "q": 3}], "late": "now", "new": [1],
    }  # fmt: skip
    export(frames([{**row, "_extra": json.dumps(extra)}]), tmp_path / "a.parquet", ids=True)
    assert Reading(tmp_path / "a.parquet").rows[0]["_extra"] == json.dumps(extra)
    assert Reading(tmp_path / "a.parquet").rows[0]["_id"] == "f#1"


def test_what_cannot_be_held_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="Row 2 has a text of several lines"):
        export(frames([{"text": "a"}, {"text": "b\nc"}]), tmp_path / "a.txt")
    with pytest.raises(InvalidValue, match="needs a column 'tokens'"):
        export(frames([{"text": "a"}]), tmp_path / "a.conll")
    with pytest.raises(InvalidValue, match="begins a document"):
        export(frames([{"tokens": ["-DOCSTART-"], "tags": ["O"]}]), tmp_path / "a.conll")
    with pytest.raises(InvalidValue, match="cannot hold white space"):
        export(frames([{"tokens": ["a b"], "tags": ["O"]}]), tmp_path / "a.conll")
    with pytest.raises(InvalidValue, match="the range '7-8"):
        export(frames([{"tokens": ["a"], "tags": ["X"], "ranges": ["7-8\tab"]}]), tmp_path / "a.conllu")
    with pytest.raises(InvalidValue, match="JSON cannot hold the column 'x' of Binary"):
        export(frames([{"x": b"a"}]), tmp_path / "a.jsonl")
    with pytest.raises(InvalidValue, match="one column"):
        export(frames([{"x": 1}, {"x": None}]), tmp_path / "a.csv")
    with pytest.raises(InvalidValue, match="not known from its ending"):
        export(frames([{"x": 1}]), tmp_path / "a.xyz")
    with pytest.raises(InvalidValue, match="compressed inside"):
        export(frames([{"x": 1}]), tmp_path / "a.parquet.gz")
    with pytest.raises(InvalidValue, match="in en and de"):
        export(
            frames([{"translation": {"en": "a", "fr": "b", "de": None}}, {"translation": {"en": "a", "fr": None, "de": "b"}}]),
            f"{tmp_path}/m/",
            "moses",
        )
    assert list(tmp_path.iterdir()) == []


def test_notes(tmp_path: Path) -> None:
    rows = frames([{"text": "a", "x": float("nan"), "l": [1]}, {"text": "b", "x": 1.0, "l": [2]}], height=1)
    assert export(rows, tmp_path / "a.csv").notes == (
        "NaN or infinity in x is nothing",
        "nested values of l are JSON text (2 times)",
    )
    assert export(frames([{"text": "a", "x": float("inf")}]), tmp_path / "a.jsonl").notes == ("NaN or infinity in x is null",)
    nested: list[dict[str, Any]] = [{"x": [{"v": [1.0, float("nan")]}, {"v": None}, {"v": [float("inf")]}]}, {"x": None}]
    assert export(frames(nested), tmp_path / "a.jsonl").notes == ("NaN or infinity in x is null (2 times)",)
    assert "NaN or infinity in x is null (2 times)" in export(frames([{"t": 1, **row} for row in nested]), tmp_path / "a.csv").notes
    assert export(frames([{"text": "a", "x": 1}]), tmp_path / "a.txt").notes == ("the column x has no place in a txt file",)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow", "a.txt"])
def test_no_rows(tmp_path: Path, name: str) -> None:
    assert export(frames([], {"text": pl.String}), tmp_path / name).num_rows == 0
    assert Reading(tmp_path / name).rows == []


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"text": "a" * n, "l": [n]} for n in range(50)]
    for ending in ("jsonl.gz", "jsonl.zst", "json.xz", "csv.bz2", "parquet", "arrow"):
        for folder in ("one", "other"):
            export(frames(rows), tmp_path / folder / f"a.{ending}")
        assert (tmp_path / "one" / f"a.{ending}").read_bytes() == (tmp_path / "other" / f"a.{ending}").read_bytes()


def test_a_folder_of_parts(tmp_path: Path) -> None:
    rows = [{"text": str(n) + "x"} for n in range(7)]
    result = export(frames(rows), f"{tmp_path}/out/", format="jsonl.gz")
    assert result == ExportResult(path=f"{tmp_path}/out/", format="jsonl (gzip)", num_rows=7, size_bytes=result.size_bytes)
    assert [label for _, label in local_files(f"{tmp_path}/out")] == ["part-00000.jsonl.gz"]
    export(frames(rows[:1]), f"{tmp_path}/out/", format="csv")  # again: what was exported before is replaced
    assert [label for _, label in local_files(f"{tmp_path}/out")] == ["part-00000.csv"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(Conflict, match="was not written by an export"):
        export(frames(rows), f"{tmp_path}/mine/")
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_the_hugging_face_layout(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{n}", "n": n, "m": [{"role": "r", "k": None}], "tags": ["x"], "split": "test" if n % 3 == 0 else "train"}
        for n in range(9)
    ]
    export(frames(rows), f"{tmp_path}/set", format="huggingface")
    assert card(tmp_path / "set")["dataset_info"]["features"] == [
        {"name": "text", "dtype": "string"},
        {"name": "n", "dtype": "int64"},
        {"name": "m", "list": [{"name": "role", "dtype": "string"}, {"name": "k", "dtype": "null"}]},
        {"name": "tags", "sequence": "string"},
    ]
    export(
        frames([{"n": 1, "split": None}, {"n": 2, "split": "train"}, {"n": 3, "split": "test"}]), f"{tmp_path}/null", "huggingface"
    )
    assert [row["n"] for path, _ in local_files(f"{tmp_path}/null", "train") for row in Reading(path).rows] == [1, 2]
    with pytest.raises(InvalidValue, match=r"Say one of them: split: test \| train \| all"):
        list(local_files(f"{tmp_path}/set"))
    found = [Reading(path) for path, _ in local_files(f"{tmp_path}/set", "test")]
    assert [row["n"] for one in found for row in one.rows] == [0, 3, 6]
    assert [label for _, label in local_files(f"{tmp_path}/set", "all")] == [
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    ]
    with pytest.raises(InvalidValue, match="no split 'dev'"):
        list(local_files(f"{tmp_path}/set", "dev"))
