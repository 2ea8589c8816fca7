"""From one meaning to another: what is kept, what has to be said, and what may be lost only when it is allowed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from llmos.data.shapes import Converter, Options, RowProblem, convert_rows
from llmos.data.shapes.base import ABOUT
from llmos.errors import InvalidValue, NotFound, UnsupportedFeature

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
PAIR = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go", "id": 7}


def one(row: dict[str, Any], to: str, **options: Any) -> Any:
    return convert_rows([row], to, **options)[0]


def test_alpaca_to_messages_keeps_the_split() -> None:
    row = {"instruction": "Add", "input": "1 2", "output": "3", "history": [["Hi", "Hello"]], "system": "Be kind.", "id": 7}
    new = one(row, "messages")
    assert [turn["content"] for turn in new["messages"]] == ["Be kind.", "Hi", "Hello", "Add\n1 2", "3"]
    assert new | {"messages": []} == {"messages": [], "input": "1 2", "id": 7}
    assert one(new, "alpaca") == row
    assert one(new, "query-response") | {"history": 0} == {
        "instruction": "Add", "query": "1 2", "response": "3", "history": 0, "system": "Be kind.", "id": 7
    }  # fmt: skip


def test_a_loss_must_be_allowed_and_is_counted() -> None:
    problem = one(PAIR, "messages")
    assert problem == RowProblem(0, "rejected", "The rejected answer would be lost. Say lossy=True to convert without it.")
    converter = Converter("preference", "messages", lossy=True)
    assert converter.convert(PAIR, 0) == {"messages": [USER, BOT], "id": 7}
    assert converter.losses == {"the rejected answer": 1}
    assert converter.carried == {"id"}


def test_one_bad_row_does_not_stop_the_others() -> None:
    rows: list[dict[str, Any]] = [PAIR, {"prompt": "Hi", "chosen": 3, "rejected": "Go"}, {}, PAIR]
    new = convert_rows(rows, "preference-sharegpt")
    assert new[1] == RowProblem(1, "chosen", "The column 'chosen' must be text; it is int.")
    assert new[2] == RowProblem(2, "prompt", "The column 'prompt' is missing or null.")
    assert (
        new[0]
        == new[3]
        == {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "Go"},
            "id": 7,
        }
    )


def test_fields_are_named_down_to_the_key() -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [USER, {"role": "robot", "content": ""}]},
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"name": "f"}]}]},
        {"messages": [USER, BOT | {"weight": 0}]},
        {"messages": [USER, BOT, USER]},
    ]
    new = convert_rows(rows, "alpaca", source="messages")
    assert [each.field for each in new if isinstance(each, RowProblem)] == [
        "messages[1].role", "messages[1].tool_calls[0]", "messages[1].weight", "messages",
    ]  # fmt: skip


def test_columns_that_clash_are_not_overwritten() -> None:
    new = one({"text": "Hello", "messages": "mine", "label": "x"}, "messages", source="classification")
    assert isinstance(new, RowProblem)
    assert "have a column of that name" in new.message


def test_preference_to_feedback() -> None:
    assert one(PAIR, "kto", answer="rejected", lossy=True) == {"prompt": "Hi", "completion": "Go", "label": False, "id": 7}
    with pytest.raises(InvalidValue, match="give the option answer: which answer of a pair"):
        one(PAIR, "kto", lossy=True)


def test_chat_to_text() -> None:
    row = {"messages": [USER, BOT], "tools": []}
    assert one(row, "text", renderer="plain") == {"text": "user: Hi\n\nassistant: Hello"}
    assert one(row, "text", renderer=lambda messages, tools: f"<{messages[0]['content']}|{tools}>") == {"text": "<Hi|[]>"}
    with pytest.raises(InvalidValue, match="give the option renderer"):
        one(row, "text")


CLASSIFY = "What is this?\n{text}"


@pytest.mark.parametrize(
    ("row", "template", "question", "answer"),
    [
        ({"text": "I like it", "label": "good"}, CLASSIFY, "What is this?\nI like it", "good"),
        ({"premise": "a", "hypothesis": "b", "label": "no"}, "{text} => {pair}", "a => b", "no"),
        ({"source": "Hello", "target": "Bonjour"}, "French: {source}", "French: Hello", "Bonjour"),
        ({"document": "Long", "summary": "Short"}, "{document}\nTL;DR:", "Long\nTL;DR:", "Short"),
        ({"context": "c", "question": "q?", "answer": "a"}, "{context} | {question}", "c | q?", "a"),
        (
            {"translation": {"en": "Hello", "fr": "Bonjour"}},
            "{source_language}>{target_language}:{source}",
            "en>fr:Hello",
            "Bonjour",
        ),
    ],
)
def test_through_a_template_and_back(row: dict[str, Any], template: str, question: str, answer: str) -> None:
    chat = one(row, "messages", template=template)
    assert [turn["content"] for turn in chat["messages"]] == [question, answer]
    shape = {"text": "classification", "premise": "nli", "source": "parallel", "document": "summary", "translation": "translation"}
    assert one(chat, shape.get(next(iter(row)), "question-answer"), template=template) == row


def test_templates_are_not_code_and_not_guessed() -> None:
    row = {"text": "{text} {label.__class__}", "label": "x"}
    chat = one(row, "messages", template=CLASSIFY)
    assert chat["messages"][0]["content"] == "What is this?\n{text} {label.__class__}"
    assert one(chat, "classification", template=CLASSIFY) == row
    assert "{label} is not known" in one(row, "messages", template="{label}").message
    assert "two ways" in one({"messages": [USER | {"content": "a-b-c"}, BOT]}, "nli", template="{text}-{pair}").message
    assert "not made from" in one({"messages": [USER, BOT]}, "classification", template=CLASSIFY).message


def test_default_templates_say_the_languages() -> None:
    row = {"translation": {"en": "Hello", "fr": "Bonjour"}}
    assert one(row, "messages")["messages"][0]["content"] == "Translate the following text from en to fr.\n\nHello"
    bare = {"source": "Hello", "target": "Bonjour"}
    assert one(bare, "translation", source_language="en", target_language="fr") == row
    assert one(bare, "translation").field == "source_language"
    assert one(row, "messages", template="{source}").field == "source_language"


def test_numbers_get_names_and_every_answer_is_minded() -> None:
    chat = one({"text": "fine", "label": 1}, "messages", label_names=["bad", "good"])
    assert chat["messages"][1]["content"] == "good"
    assert one({"text": "fine", "label": 2}, "messages", label_names=["bad", "good"]).field == "label"
    several = {"question": "?", "answer": ["a", "b"]}
    assert one(several, "messages").field == "answers"
    nothing = {"context": "c", "question": "?", "answers": {"text": [], "answer_start": []}}
    assert one(nothing, "messages").field == "no_answer"
    assert one(nothing, "messages", no_answer="Unknown.")["messages"][1]["content"] == "Unknown."


def test_questions_find_their_answers() -> None:
    row = {"context": "a b a", "question": "?", "answer": "b", "id": 1}
    new = one(row, "squad")
    assert new["answers"] == {"text": ["b"], "answer_start": [2]}
    assert one(new, "question-answer") == row
    assert "does not stand in" in one(row | {"answer": "x"}, "squad").message


def test_words_and_sides_become_text() -> None:
    tagged = {"tokens": ["中", "国"], "tags": ["n", "n"]}
    assert one(tagged, "text", separator="", lossy=True) == {"text": "中国"}
    assert one(tagged, "text", separator=" ").field == "tags"
    assert one({"source": "Hello", "target": "Bonjour"}, "text", side="target", lossy=True) == {"text": "Bonjour"}


def test_batch_lines() -> None:
    line = one({"messages": [USER], "tools": "[]"}, "openai-batch", model="smollm2")
    assert line == {
        "custom_id": "row-0",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "smollm2", "messages": [USER], "tools": []},
    }
    assert one(line | {"url": "/v1/embeddings"}, "messages").field == "url"
    assert one({"messages": [USER]}, "openai-batch").field == "model"


def test_where_a_prompt_ends_is_not_forgotten() -> None:
    row = {"prompt": [USER, BOT], "completion": [USER, BOT]}
    assert one(row, "messages").field == "completion"
    assert len(one(row, "messages", lossy=True)["messages"]) == 4
    assert one(row, "kto-messages", label=True) == row | {"label": True}


def test_the_system_prompt_in_its_column() -> None:
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "Be kind."}
    chat = one(row, "messages")
    assert chat["messages"][0] == {"role": "system", "content": "Be kind."}
    assert one(chat, "sharegpt", system_column=True) == row


def test_nulls_of_parquet_are_no_values() -> None:
    nulls = {"name": None, "tool_calls": None, "tool_call_id": None, "weight": None}
    row = {"messages": [USER | nulls, BOT | nulls], "tools": None}
    assert one(row, "alpaca") == {"instruction": "Hi", "input": "", "output": "Hello"}


def test_calls_in_a_preference_go_on_counting() -> None:
    def call(name: str) -> dict[str, str]:
        return {"from": "function_call", "value": f'{{"name": "{name}", "arguments": {{}}}}'}

    turns = [{"from": "human", "value": "Hi"}, call("f"), {"from": "observation", "value": "1"}]
    row = {"conversations": turns, "chosen": call("g"), "rejected": {"from": "gpt", "value": "No"}}
    new = one(row, "preference-messages")
    assert new["chosen"][0]["tool_calls"][0]["id"] == "call_1"
    assert one(new, "preference-sharegpt") == row


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(UnsupportedFeature, match="A PlainText cannot become a Preference"):
        one({"text": "Hello"}, "preference")
    with pytest.raises(UnsupportedFeature):
        one({"source": "a", "target": "b"}, "summary")
    with pytest.raises(NotFound, match="Did you mean alpaca"):
        one({"text": "Hello"}, "alpacca")


def test_options_are_not_ignored() -> None:
    assert sorted(ABOUT) == sorted(each.name for each in fields(Options))
    with pytest.raises(InvalidValue, match="has no effect"):
        one({"text": "Hello"}, "text", template="{text}")
    with pytest.raises(InvalidValue, match="Did you mean template"):
        one({"text": "Hello"}, "text", templates="{text}")
    with pytest.raises(InvalidValue, match=r"Bad value 'yes'.*It is whether the answers") as error:
        one({"messages": [USER, BOT]}, "kto", label="yes")
    assert error.value.param == "label"


def test_no_rows() -> None:
    assert convert_rows([], "messages") == []
