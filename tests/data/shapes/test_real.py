"""Real rows: every set is recognised, goes through every shape that can hold it, and comes back as it was."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import polars as pl
import pytest

from llmos.data.shapes import Mapping, RowProblem, convert_rows, detect, from_dataset_info
from tests.data.shapes import real

SETS = {
    "alpaca_en_demo.json": "alpaca",
    "alpaca_zh_demo.json": "alpaca",
    "identity.json": "alpaca",
    "c4_demo.jsonl": "text",
    "dpo_en_demo.json": "preference-sharegpt",
    "dpo_zh_demo.json": "preference-sharegpt",
    "kto_en_demo.json": "kto-chat",
    "glaive_toolcall_en_demo.json": "sharegpt",
    "glaive_toolcall_zh_demo.json": "sharegpt",
    "mllm_demo.json": "messages",
    "reason_tool_use_demo_50.jsonl": "messages",
    "v1_sft_demo.jsonl": "messages",
    "v1_dpo_demo.jsonl": "preference-v1",
}
CHATS = ("alpaca", "query-response", "messages", "sharegpt", "swift", "prompt-completion-messages")
# set -> (shapes that hold every row, shapes that hold some)
THROUGH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "alpaca_en_demo.json": ((*CHATS, "swift-pairs", "prompt-completion", "rlvr", "rlvr-messages", "question-answer"), ("evals",)),
    "alpaca_zh_demo.json": ((*CHATS, "swift-pairs", "prompt-completion"), ("evals-text",)),
    "identity.json": ((*CHATS, "swift-pairs", "prompt-completion", "evals", "evals-text"), ()),
    "dpo_en_demo.json": (
        ("preference-alpaca", "preference-implicit", "preference-messages", "preference-swift", "preference-v1"),
        ("preference",),
    ),
    "dpo_zh_demo.json": (("preference-alpaca", "preference-messages", "preference-swift"), ("preference",)),
    "kto_en_demo.json": (("kto-alpaca", "kto-messages", "kto-sharegpt"), ("kto",)),
    "glaive_toolcall_en_demo.json": (("messages", "swift", "prompt-completion-messages"), ("alpaca", "query-response")),
    "glaive_toolcall_zh_demo.json": (("messages", "swift", "prompt-completion-messages"), ("alpaca", "query-response")),
    "mllm_demo.json": (CHATS, ()),
    "v1_sft_demo.jsonl": (("prompt-completion-messages",), ()),
    "v1_dpo_demo.jsonl": (("preference-messages", "preference-implicit"), ()),
}


@pytest.mark.asset("llamafactory")
@pytest.mark.parametrize("name", SETS)
def test_set_is_recognised_and_kept(name: str) -> None:
    rows = real.rows(name)
    assert detect(rows[0], rows).shape == SETS[name]
    assert convert_rows(rows, SETS[name]) == rows


@pytest.mark.asset("llamafactory")
@pytest.mark.parametrize("name", THROUGH)
def test_rows_come_back(name: str) -> None:
    rows, shape = real.rows(name), SETS[name]
    for whole, others in zip((True, False), THROUGH[name], strict=True):
        for other in others:
            there = convert_rows(rows, other)
            kept = [(row, new) for row, new in zip(rows, there, strict=True) if not isinstance(new, RowProblem)]
            assert (len(kept) == len(rows)) == whole, (
                other,
                Counter(each.message for each in there if isinstance(each, RowProblem)),
            )
            assert kept
            back = convert_rows([new for _, new in kept], shape, source=other)
            assert back == [row for row, _ in kept], other


@pytest.mark.asset("llamafactory")
def test_tool_calls_become_openai_calls() -> None:
    new = convert_rows(real.rows("glaive_toolcall_en_demo.json"), "messages")[0]
    assert isinstance(new, dict)
    call, result = new["messages"][3], new["messages"][4]
    assert call["tool_calls"][0]["function"]["name"] == "search_recipes"
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"ingredients": ["chicken", "bell peppers", "rice"]}
    assert (result["role"], result["tool_call_id"]) == ("tool", call["tool_calls"][0]["id"])
    assert new["tools"][0]["function"]["name"] == "search_recipes"


@pytest.mark.asset("llamafactory")
@pytest.mark.parametrize("name", ["glaive_toolcall_en_demo.json", "glaive_toolcall_zh_demo.json"])
def test_through_parquet(name: str) -> None:
    """Parquet gives every message the keys of all, null where they were missing."""
    rows, file = real.rows(name), io.BytesIO()
    pl.DataFrame(convert_rows(rows, "messages", tools_as_text=True)).write_parquet(file)
    file.seek(0)
    assert convert_rows(pl.read_parquet(file).to_dicts(), "sharegpt", source="messages") == rows


@pytest.mark.asset("llamafactory")
def test_what_alpaca_cannot_hold_is_named() -> None:
    problems = [each for each in convert_rows(real.rows("reason_tool_use_demo_50.jsonl"), "alpaca") if isinstance(each, RowProblem)]
    assert len(problems) == 50
    assert problems[0].field == "messages[2].content"
    assert problems[0].message.startswith("The parts of type reasoning")


@pytest.mark.asset("llamafactory")
def test_every_entry_of_dataset_info_is_understood() -> None:
    """Each entry has a mapping; those whose file is in the archive convert to messages or text under it, and back."""
    entries: dict[str, dict[str, Any]] = json.loads((real.llamafactory() / "dataset_info.json").read_text())
    read = 0
    for name, entry in entries.items():
        mapping = from_dataset_info(entry)
        assert mapping.bound()
        file = entry.get("file_name", "")
        if not (real.llamafactory() / file).is_file():
            continue
        rows, to = real.rows(file), {"text": "text", "kto-sharegpt": "kto-chat"}.get(mapping.shape, "messages")
        if mapping.shape == "preference-sharegpt":
            to = "preference-messages"
        new = convert_rows(rows, to, source=mapping)
        assert not [each for each in new if isinstance(each, RowProblem)], name
        assert convert_rows([row for row in new if isinstance(row, dict)], mapping, source=to) == rows, name
        read += len(rows)
    assert len(entries) == 104
    assert read == 3905


@pytest.mark.asset("llamafactory")
def test_renamed_columns() -> None:
    rows = [{"question": row["instruction"], "reply": row["output"]} for row in real.rows("identity.json")]
    mapping = Mapping(shape="alpaca", columns={"instruction": "question", "output": "reply", "input": None})
    there = convert_rows(rows, "messages", source=mapping)
    assert convert_rows([row for row in there if isinstance(row, dict)], mapping) == rows
