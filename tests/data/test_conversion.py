"""Files of one shape to another: every format in, what cannot be converted beside it, all or nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from llmos.data.conversion import Converted, convert_file
from llmos.data.steps.convert import pruned
from llmos.errors import InvalidValue, LLMOSError, NotFound
from llmos.settings import Settings

CHATS = [
    {"conversations": [{"from": "human", "value": f"Question {number}?"}, {"from": "gpt", "value": "Answer."}], "id": number}
    for number in range(300)
]


def convert(source: Path, target: Path, to: str, **more: object) -> Converted:
    settings = Settings.from_env({"LLMOS_HOME": str(source.parent / "home")})
    return convert_file(source, target, to=to, settings=settings, **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(CHATS))
    told = convert(tmp_path / "a.json", tmp_path / "b.jsonl", "messages")
    assert (told.shape, told.num_rows, told.num_problems, told.errors, told.carried) == ("sharegpt", 300, 0, None, ("id",))
    assert lines(tmp_path / "b.jsonl")[7]["messages"] == [
        {"role": "user", "content": "Question 7?"},
        {"role": "assistant", "content": "Answer."},
    ]
    convert(tmp_path / "b.jsonl", tmp_path / "c.parquet", "messages")
    assert pl.read_parquet(tmp_path / "c.parquet").height == 300
    convert(tmp_path / "c.parquet", tmp_path / "d.jsonl.gz", "sharegpt")
    back = [json.loads(line) for line in gzip.decompress((tmp_path / "d.jsonl.gz").read_bytes()).splitlines()]
    assert back == CHATS


def test_what_cannot_be_converted_is_listed(tmp_path: Path) -> None:
    rows = [json.dumps(row) for row in CHATS[:5]]
    rows[1:1] = ['{"broken', "[1]", '{"conversations": "no list"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    told = convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "messages")
    assert (told.num_rows, told.num_problems) == (5, 3) and told.errors is not None
    assert [(one["row"], one["field"]) for one in lines(told.errors)] == [(2, ""), (3, ""), (4, "conversations")]
    convert(tmp_path / "b.jsonl", tmp_path / "b2.jsonl", "sharegpt")
    assert not (tmp_path / "b2.jsonl.errors.jsonl").exists()


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"odd": 1}\n')
    for source, target, to, error in (
        ("a.jsonl", "b.jsonl", "messages", InvalidValue),
        ("none.jsonl", "b.jsonl", "messages", NotFound),
        ("a.jsonl", "b.unknown", "messages", InvalidValue),
    ):
        with pytest.raises(error):
            convert(tmp_path / source, tmp_path / target, to)
    with pytest.raises(NotFound, match="mesages"):
        convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "mesages", shape="text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]


def test_keys_that_only_other_rows_have_are_taken_away() -> None:
    assert pruned([{"a": None, "b": [{"c": None}, 1]}]) == [{"b": [{}, 1]}]


def labelled(path: Path, odd: dict[str, object]) -> None:
    """So many rows that the odd one is in no sample."""
    with path.open("w") as out:
        for n in range(60_000):
            out.write(json.dumps({"text": "x" * 90 + str(n), "label": "a"} | (odd if n == 32_345 else {})) + "\n")


def test_a_row_that_fits_no_column_is_not_lost(tmp_path: Path) -> None:
    labelled(tmp_path / "a.jsonl", {"label": 7})
    with pytest.raises(InvalidValue, match=r"1 rows do not fit .*; row 32346 of the result: label is a whole number"):
        convert(tmp_path / "a.jsonl", tmp_path / "b.parquet", "classification")
    assert not (tmp_path / "b.parquet").exists()


def test_a_key_that_one_row_has_comes_along(tmp_path: Path) -> None:
    labelled(tmp_path / "a.jsonl", {"late": 7})
    convert(tmp_path / "a.jsonl", tmp_path / "b.parquet", "classification")
    assert pl.read_parquet(tmp_path / "b.parquet").get_column("_extra").drop_nulls().to_list() == ['{"late":7}']


def test_a_line_without_end_and_a_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "' + b"x" * (40 << 20) + b'"}\n{"text": "b"}\n')
    told = convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "text")
    assert (told.num_rows, told.num_problems, told.errors and lines(told.errors)[0]["row"]) == (2, 1, 2)
    with gzip.open(tmp_path / "c.json.gz", "wb") as out:
        for _ in range(40):
            out.write(b" " * (16 << 20))
    with pytest.raises(LLMOSError, match="expands to more than 200 times"):
        convert(tmp_path / "c.json.gz", tmp_path / "d.jsonl", "text")
