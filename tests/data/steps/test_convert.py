"""The step `convert`: shapes within a recipe, the same columns for every batch, nothing lost without being told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmos.errors import InvalidValue, NotFound, UnsupportedFeature
from tests.data.running import run

CHATS: list[dict[str, Any]] = [
    {"conversations": [{"from": "human", "value": f"Q{number}"}, {"from": "gpt", "value": "A"}], "n": number}
    for number in range(200)
]


def test_chats(tmp_path: Path) -> None:
    made = run(tmp_path, CHATS, [{"convert": {"source": "sharegpt", "to": "messages"}}])
    rows = made.scan().collect().to_dicts()
    assert rows[3]["messages"] == [{"role": "user", "content": "Q3"}, {"role": "assistant", "content": "A"}]
    assert [row["n"] for row in rows] == list(range(200)) and "conversations" not in rows[0]


def test_batches_may_be_cut_anywhere(tmp_path: Path) -> None:
    odd = [{"conversations": [{"from": "nobody", "value": "x"}], "n": -1}]
    rows, process = odd * 30 + CHATS, [{"convert": {"source": "sharegpt", "to": "alpaca"}}]
    whole = run(tmp_path / "a", rows, process)
    cut = run(tmp_path / "b", rows, process, read={"batch_bytes": 500})
    assert whole.scan().collect().equals(cut.scan().collect())
    gone = whole.ledger().filter(pl.col("action") == "dropped").collect()
    assert gone.height == 30 and "nobody" in gone["detail"][0] and gone["signal"][0] == "not convertible"


def test_tool_calls_stay_or_are_refused(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    plain = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    called = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [call]}]}
    process = [{"convert": {"source": "messages", "to": "alpaca"}}]
    made = run(tmp_path, [plain, called], process)
    assert made.scan().collect()["output"].to_list() == ["b"]
    assert "Tool calls" in made.ledger().filter(pl.col("action") == "dropped").collect()["detail"][0]


def test_preferences_and_labels(tmp_path: Path) -> None:
    pairs = [{"prompt": "p", "chosen": "good", "rejected": "bad"}]
    made = run(tmp_path, pairs, [{"convert": {"source": "preference", "to": "preference-messages"}}]).scan().collect()
    assert made["chosen"].to_list() == [[{"role": "assistant", "content": "good"}]]
    texts = run(tmp_path, [{"text": "t", "label": 1}], [{"convert": {"source": "classification", "to": "text", "lossy": True}}])
    assert texts.scan().collect().select("text").to_dicts() == [{"text": "t"}]


def test_mistakes(tmp_path: Path) -> None:
    for config, error in (
        ({"source": "sharegpt", "to": "mesages"}, NotFound),
        ({"source": "sharegpt", "to": "text-pairs"}, NotFound),
        ({"source": "parallel", "to": "translation"}, InvalidValue),
        ({"source": "sharegpt", "to": "squad"}, (InvalidValue, UnsupportedFeature)),
        ({"source": "sharegpt", "to": "messages", "options": {"labl": 1}}, InvalidValue),
    ):
        with pytest.raises(error):
            run(tmp_path, CHATS, [{"convert": config}])
    with pytest.raises(InvalidValue, match="already"):
        run(tmp_path, [{**CHATS[0], "messages": "x"}], [{"convert": {"source": "sharegpt", "to": "messages"}}])
