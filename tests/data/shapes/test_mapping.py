"""Rows under other names, and what LLaMA-Factory's dataset_info.json says of them. (Its real entries: test_real.py.)"""

from __future__ import annotations

from typing import Any

import pytest

from llmos.data.shapes import Mapping, RowProblem, convert_rows, from_dataset_info
from llmos.errors import InvalidValue, NotFound

TAGS = {
    "role_tag": "who",
    "content_tag": "said",
    "user_tag": "U",
    "assistant_tag": "A",
    "observation_tag": "R",
    "function_tag": "F",
}
TALK = [
    {"who": "U", "said": "Hi"},
    {"who": "F", "said": '{"name": "f", "arguments": {}}'},
    {"who": "R", "said": "1"},
    {"who": "A", "said": "One."},
]


def test_other_keys_and_roles() -> None:
    row = {"talk": TALK, "system": "mine"}
    mapping = Mapping(shape="sharegpt", columns={"conversations": "talk", "system": None}, tags=TAGS)
    new = convert_rows([row], "messages", source=mapping)
    assert isinstance(new[0], dict)
    assert [turn["role"] for turn in new[0]["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert new[0]["system"] == "mine"  # no column of the shape here: carried
    assert convert_rows([row], mapping, source=mapping) == [row]


def test_problems_name_the_columns_of_the_file() -> None:
    mapping = Mapping(shape="sharegpt", columns={"conversations": "talk"}, tags=TAGS)
    new = convert_rows([{"talk": [{"who": "X", "said": ""}]}, {"talk": 3}], "messages", source=mapping)
    assert [each.field for each in new if isinstance(each, RowProblem)] == ["talk[0].who", "talk"]


def test_a_column_that_is_left_out_is_a_loss() -> None:
    mapping = Mapping(shape="alpaca", columns={"input": None, "system": None})
    chat = {
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    }
    new = convert_rows([chat], mapping)[0]
    assert isinstance(new, RowProblem)
    assert new.field == "system"
    assert convert_rows([chat], mapping, lossy=True) == [{"instruction": "Q", "output": "A"}]


@pytest.mark.parametrize(
    ("entry", "shape", "columns"),
    [
        ({"file_name": "a.json"}, "alpaca", {"instruction": "instruction", "input": "input", "output": "output", "history": None}),
        ({"columns": {"prompt": "text"}}, "text", {"text": "text"}),
        (
            {"columns": {"prompt": "q", "response": "a", "system": "s"}},
            "alpaca",
            {"instruction": "q", "input": None, "system": "s"},
        ),
        ({"ranking": True, "columns": {"prompt": "q", "chosen": "c", "rejected": "r"}}, "preference-alpaca", {"chosen": "c"}),
        ({"columns": {"prompt": "p", "response": "c", "kto_tag": "label"}}, "kto-alpaca", {"kto_tag": "label", "output": "c"}),
        ({"formatting": "sharegpt"}, "sharegpt", {"conversations": "conversations", "tools": None}),
        ({"formatting": "sharegpt", "ranking": True}, "preference-sharegpt", {"chosen": "chosen"}),
        ({"formatting": "sharegpt", "columns": {"messages": "m", "kto_tag": "l"}}, "kto-sharegpt", {"kto_tag": "l"}),
        ({"formatting": "openai", "columns": {"messages": "m", "tools": "t"}}, "messages", {"messages": "m", "tools": "t"}),
    ],
)
def test_entries(entry: dict[str, Any], shape: str, columns: dict[str, str | None]) -> None:
    found = from_dataset_info(entry)
    assert found.shape == shape
    assert columns.items() <= dict(found.columns).items()
    assert found.bound()


@pytest.mark.parametrize(
    ("entry", "param"),
    [
        ({"formatting": "parquet"}, "formatting"),
        ({"columns": {"promt": "q"}}, "columns"),
        ({"formatting": "sharegpt", "tags": {"user": "u"}}, "tags"),
        ({"formatting": "openai", "tags": {"role_tag": "from"}}, "tags"),
    ],
)
def test_bad_entries_are_named(entry: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidValue) as error:
        from_dataset_info(entry)
    assert error.value.param == param


def test_bad_mappings_are_named() -> None:
    with pytest.raises(NotFound, match="Did you mean alpaca"):
        Mapping(shape="alpacas").bound()
    with pytest.raises(InvalidValue, match="has no column 'outpt'"):
        Mapping(shape="alpaca", columns={"outpt": "x"}).bound()
    with pytest.raises(InvalidValue, match="needs the column 'output'"):
        Mapping(shape="alpaca", columns={"output": None}).bound()
    with pytest.raises(InvalidValue, match="no tags"):
        Mapping(shape="alpaca", tags=TAGS).bound()
