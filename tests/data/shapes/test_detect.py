"""The shape of rows is seen from columns and values; equals are an error that says how to choose."""

from __future__ import annotations

from typing import Any

import pytest

from llmos.data.shapes import Detection, detect
from llmos.errors import InvalidValue

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
CALL = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}'}


def seen(*rows: dict[str, Any]) -> Detection:
    return detect(dict.fromkeys(name for row in rows for name in row), rows)


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"messages": [USER, BOT]}, "messages"),
        ({"messages": [USER, BOT], "tools": "[]", "id": 3}, "messages"),
        ({"messages": [USER, CALL, BOT]}, "swift"),
        ({"messages": [USER, BOT], "label": True}, "kto-chat"),
        ({"messages": [USER, BOT], "rejected_response": "No"}, "preference-swift"),
        ({"conversations": [HUMAN, GPT], "system": "Be kind."}, "sharegpt"),
        ({"conversations": [HUMAN], "chosen": GPT, "rejected": GPT}, "preference-sharegpt"),
        ({"conversations": [HUMAN, GPT], "kto_tag": False}, "kto-sharegpt"),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}]}, "swift-pairs"),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, "alpaca"),
        ({"instruction": "Add", "output": "3", "text": "Add 3"}, "alpaca"),
        ({"instruction": "Add", "chosen": "3", "rejected": "4"}, "preference-alpaca"),
        ({"query": "Hi", "response": "Hello", "history": [["a", "b"]]}, "query-response"),
        ({"prompt": "Hi", "completion": "Hello"}, "prompt-completion"),
        ({"prompt": [USER], "completion": [BOT]}, "prompt-completion-messages"),
        ({"prompt": "Hi", "completion": "Hello", "label": True}, "kto"),
        ({"prompt": [USER], "completion": [BOT], "label": True}, "kto-messages"),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}, "preference"),
        ({"prompt": [USER], "chosen": [BOT], "rejected": [BOT]}, "preference-messages"),
        ({"prompt": "Hi", "chosen": [USER, BOT], "rejected": [USER, USER]}, "preference-binarized"),
        ({"chosen": [USER, BOT], "rejected": [USER, USER]}, "preference-implicit"),
        ({"prompt": "1+1", "ground_truth": "2"}, "rlvr"),
        ({"input": [USER], "ideal": ["Hello"]}, "evals"),
        ({"text": "Hello"}, "text"),
        ({"text": "Hello", "label": 1}, "classification"),
        ({"text": "Hello", "labels": ["a", "b"]}, "multi-label"),
        ({"sentence1": "a", "sentence2": "b", "label": 0, "idx": 7}, "pair-classification"),
        ({"premise": "a", "hypothesis": "b", "label": 0}, "nli"),
        ({"source": "Hello", "target": "Bonjour"}, "parallel"),
        ({"translation": {"en": "Hello", "fr": "Bonjour", "zh": None}}, "translation"),
        ({"document": "Long", "summary": "Short"}, "summary"),
        ({"context": "a b", "question": "?", "answers": {"text": ["a"], "answer_start": [0]}}, "squad"),
        ({"question": "?", "answer": "a"}, "question-answer"),
        ({"tokens": ["a"], "tags": ["DT"]}, "conll"),
        ({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [USER]}}, "openai-batch"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shapes_are_told_apart(row: dict[str, Any], shape: str) -> None:
    assert seen(row).shape == shape


def test_reason_alternatives_and_carried_columns() -> None:
    found = seen({"text": "good", "label": 1, "id": 7}, {"text": "bad", "label": 0, "id": 8})
    assert found.why == "it has the columns text, label, and 2 of 2 sampled rows fit"
    assert found.alternatives == ("text",)
    assert found.extra == ("id",)


def test_some_bad_rows_do_not_decide() -> None:
    assert seen(*[{"text": "a", "label": "x"}] * 3, {"text": None, "label": "x"}).shape == "classification"


def test_tool_calls_in_some_rows_are_enough() -> None:
    assert seen(*[{"messages": [USER, BOT]}] * 3, {"messages": [USER, CALL, BOT]}).shape == "swift"


def test_equals_are_an_error_with_candidates() -> None:
    with pytest.raises(InvalidValue) as error:
        seen({"prompt": "Hi", "text": "Hello"})
    assert error.value.param == "source"
    assert "prompt-completion (prompt) and text (text)" in str(error.value)
    assert "source=" in error.value.hint


def test_unknown_columns_name_the_nearest_shape() -> None:
    with pytest.raises(InvalidValue, match=r"columns instruction, reply. The nearest is alpaca, which lacks output"):
        seen({"instruction": "Add", "reply": "3"})
    with pytest.raises(InvalidValue, match=r"The nearest is alpaca, which has other types: instruction is text"):
        seen({"instruction": "Add", "output": 3})
    with pytest.raises(InvalidValue, match="no row"):
        detect(["text"], [])
