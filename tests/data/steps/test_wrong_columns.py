"""A column of another kind than a step can use is told by name; none of them ends in an error of a library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmos.errors import InvalidValue
from tests.data.running import run

VALUES: dict[str, list[Any]] = {
    "list": [["a"], [], None],
    "list of numbers": [[1], [2, 3], []],
    "object": [{"a": 1}, {"a": 2}, None],
    "list of objects": [[{"a": 1}], [], None],
}
ONE_VALUE: list[Any] = [
    {"field_range": {"field": "f", "min_value": 0}},
    {"suffix_in": {"field": "f", "suffixes": [".py"]}},
    {"top_by_field": {"field": "f", "num": 1}},
    {"range_by_field": {"field": "f", "upper_rank": 1}},
    {"mix": {"unit": "column", "size": "f", "by": "text"}},
]


def rows(kind: str) -> list[dict[str, Any]]:
    return [{"text": text, "f": value} for text, value in zip(("Hello there.", "", "x"), VALUES[kind], strict=True)]


@pytest.mark.parametrize("kind", [*VALUES])
@pytest.mark.parametrize("step", ONE_VALUE, ids=lambda one: next(iter(one)))
def test_one_value_is_wanted(step: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"'f' holds .*, and one value is wanted"):
        run(tmp_path, rows(kind), [step])


@pytest.mark.parametrize("kind", ["list", "list of objects"])
@pytest.mark.parametrize(
    "step",
    [{"sample": {"rows": 1, "by": "f"}}, {"split": {"group": "f"}}, {"split": {"stratify": "f"}}, {"mix": {"by": "f"}}],
    ids=str,
)
def test_a_group_is_one_value(step: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"'f' holds .*; a group is one value"):
        run(tmp_path, rows(kind), [step])


def test_the_others(tmp_path: Path) -> None:
    for number, kind in enumerate(("object", "list of objects")):
        with pytest.raises(InvalidValue, match=r"'f' holds .*, and values are wanted"):
            run(tmp_path / str(number), rows(kind), [{"field_in": {"field": "f", "values": ["a"]}}])
    kept = run(tmp_path, rows("list"), [{"field_in": {"field": "f", "values": ["a"]}}])
    assert kept.scan().collect()["_id"].to_list() == ["rows#1", "rows#2"]
    with pytest.raises(InvalidValue, match="tokenize before it"):
        run(tmp_path, rows("list"), [{"pack": {"column": "f"}}])
    with pytest.raises(InvalidValue, match=r"none of the columns of alpaca: .*instruction, "):
        run(tmp_path, rows("list"), [{"convert": {"source": "alpaca", "to": "messages"}}])
    with pytest.raises(InvalidValue, match="Not every row has a size"):
        run(tmp_path, [{"text": "a", "n": 1}, {"text": "b", "n": None}], [{"mix": {"unit": "column", "size": "n", "by": "text"}}])
    with pytest.raises(InvalidValue, match="greater than or equal to 0"):
        run(tmp_path, [{"text": "a"}], [{"mix": {"by": "text", "weights": {"a": -1}}}])
