"""Files of one shape to another: every format in, what cannot be converted beside it, all or nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from llmos.data.conversion import Converted, convert_file
from llmos.data.steps.convert import pruned
from llmos.errors import InvalidValue, NotFound
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
