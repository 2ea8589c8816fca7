"""Canonical rows of every shape, for property tests: rows as their shape writes them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]
TEXT = st.text(max_size=8)
WORDS = st.text(alphabet="ab é语\n", min_size=1, max_size=6)
EXTRA = st.dictionaries(
    st.sampled_from(("id", "origin", "images")), st.one_of(TEXT, st.integers(), st.lists(TEXT, max_size=2)), max_size=2
)
TOOLS = st.lists(
    st.fixed_dictionaries({"name": WORDS, "description": TEXT, "parameters": st.just({"type": "object"})}), min_size=1, max_size=2
)
ARGUMENTS = st.dictionaries(WORDS, st.one_of(TEXT, st.integers(), st.booleans()), max_size=2)
LABEL = st.one_of(WORDS, st.integers(0, 5), st.booleans())


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@st.composite
def chat(draw: st.DrawFn, *, ends: str = "assistant") -> list[Row]:
    """OpenAI messages: an optional system prompt, then rounds with or without a tool call."""
    messages: list[Row] = [{"role": "system", "content": draw(WORDS)}] if draw(st.booleans()) else []
    num_calls = 0
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(WORDS)})
        if draw(st.integers(0, 3)) == 0:
            calls = []
            for _ in range(draw(st.integers(1, 2))):
                own = draw(st.booleans())
                arguments = dumps(draw(ARGUMENTS))
                function = {"name": draw(WORDS), "arguments": arguments}
                calls.append({"id": f"x{num_calls}" if own else f"call_{num_calls}", "type": "function", "function": function})
                num_calls += 1
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [
                {"role": "tool", "content": draw(TEXT), "tool_call_id": call["id"]} for call in draw(st.permutations(calls))
            ]
        messages.append({"role": "assistant", "content": draw(WORDS)} | draw(st.sampled_from(({}, {"weight": 0}, {"name": "Ada"}))))
    return messages if ends == "assistant" else messages[:-1]


@st.composite
def rounds(draw: st.DrawFn) -> Row:
    """Alpaca's columns but for the answer."""
    row: Row = {"instruction": draw(WORDS), "input": draw(TEXT)}
    if draw(st.booleans()):
        row["history"] = draw(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=2))
    if draw(st.booleans()):
        row["system"] = draw(WORDS)
    if draw(st.booleans()):
        row["tools"] = dumps(draw(TOOLS))
    return row


def tagged(messages: list[Row], role: str, content: str, names: dict[str, str]) -> list[Row]:
    """The same chat in ShareGPT's way, as the shape writes it: ids only where they are not call_0, call_1, … in order."""
    written: list[Row] = []
    waiting: list[str] = []
    num_calls = 0
    for message in messages:
        rest = {key: value for key, value in message.items() if key not in ("role", "content", "tool_calls", "tool_call_id")}
        if "tool_calls" in message:
            calls = []
            for call in message["tool_calls"]:
                function = {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
                calls.append(function if call["id"] == f"call_{num_calls}" else {"id": call["id"]} | function)
                waiting.append(call["id"])
                num_calls += 1
            text = dumps(calls[0] if len(calls) == 1 else calls)
            written.append({role: names["call"], content: text} | rest)
        elif message["role"] == "tool":
            if not waiting or message["tool_call_id"] != waiting.pop(0):
                rest["tool_call_id"] = message["tool_call_id"]
            written.append({role: names["tool"], content: message["content"]} | rest)
        else:
            waiting = []
            written.append({role: names[message["role"]], content: message["content"]} | rest)
    return written


SHAREGPT = (
    "from",
    "value",
    {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation", "call": "function_call"},
)
SWIFT = (
    "role",
    "content",
    {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool_response", "call": "tool_call"},
)
SAID = st.fixed_dictionaries({"role": st.just("assistant"), "content": WORDS})


def _row(
    columns: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[Row]:
    return st.builds(lambda row, extra: row | extra, st.fixed_dictionaries(columns, optional=optional or {}), EXTRA)


def _openai_tools() -> st.SearchStrategy[list[Row]]:
    return TOOLS.map(lambda tools: [{"type": "function", "function": tool} for tool in tools])


def _alpaca(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Row]:
    return st.builds(lambda row, more, extra: row | more | extra, rounds(), st.fixed_dictionaries(columns), EXTRA)


def _query(row: Row) -> Row:
    """Alpaca's row under Data-Juicer's names."""
    rest = {name: value for name, value in row.items() if name not in ("instruction", "input", "output")}
    asked = {"instruction": row["instruction"], "query": row["input"]} if row["input"] else {"query": row["instruction"]}
    return asked | {"response": row["output"]} | rest


def _said(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def _implicit(chosen: str, rejected: str) -> st.SearchStrategy[Row]:
    return st.builds(
        lambda prompt, texts, extra: {chosen: prompt + _said(texts[0]), rejected: prompt + _said(texts[1])} | extra,
        chat(ends="user"),
        st.lists(WORDS, min_size=2, max_size=2, unique=True),
        EXTRA,
    )


_SHARE = chat().map(lambda messages: tagged(messages, *SHAREGPT))
_SHARE_ASKED = chat(ends="user").map(lambda messages: tagged(messages, *SHAREGPT))
_SWIFT = chat().map(lambda messages: tagged(messages, *SWIFT))
_GPT = st.fixed_dictionaries({"from": st.just("gpt"), "value": WORDS})
_PLAIN_END = chat().map(lambda messages: [*messages[:-1], {"role": "assistant", "content": messages[-1]["content"]}])
_LANGUAGES = st.permutations(["en", "fr", "zh"]).map(lambda names: names[:2])
_MANY = st.lists(LABEL, max_size=3)

ROWS: dict[str, st.SearchStrategy[Row]] = {
    "messages": _row({"messages": chat()}, {"tools": _openai_tools()}),
    "sharegpt": _row({"conversations": _SHARE}, {"tools": TOOLS.map(dumps)}),
    "swift": _row({"messages": _SWIFT}, {"tools": TOOLS.map(dumps)}),
    "swift-pairs": _row(
        {"conversation": st.lists(st.fixed_dictionaries({"human": TEXT, "assistant": TEXT}), min_size=1, max_size=3)},
        {"system": WORDS},
    ),
    "alpaca": _alpaca({"output": TEXT}),
    "query-response": _alpaca({"output": TEXT}).map(_query),
    "prompt-completion": _row({"prompt": TEXT}, {"completion": TEXT}),
    "prompt-completion-messages": st.builds(
        lambda prompt, answer, tools, extra: {"prompt": prompt, "completion": [answer], "tools": tools} | extra,
        chat(ends="user"),
        SAID,
        _openai_tools(),
        EXTRA,
    ),
    "openai-batch": st.builds(
        lambda name, messages, more: {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": messages} | more,
        },
        WORDS,
        chat(ends="user"),
        st.fixed_dictionaries({}, optional={"temperature": st.just(0.5), "tools": _openai_tools()}),
    ),
    "preference": _row({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}),
    "preference-messages": _row(
        {"prompt": chat(ends="user"), "chosen": WORDS.map(lambda text: _said("+" + text)), "rejected": WORDS.map(_said)},
        {"tools": _openai_tools()},
    ),
    "preference-implicit": _implicit("chosen", "rejected"),
    "preference-binarized": _implicit("chosen", "rejected").map(
        lambda row: {"prompt": next(turn["content"] for turn in row["chosen"] if turn["role"] == "user")} | row
    ),
    "preference-v1": _implicit("chosen_messages", "rejected_messages"),
    "preference-alpaca": _alpaca({"chosen": TEXT.map(lambda text: "+" + text), "rejected": WORDS}),
    "preference-sharegpt": _row(
        {"conversations": _SHARE_ASKED, "chosen": _GPT.map(lambda turn: turn | {"value": "+" + turn["value"]}), "rejected": _GPT},
        {"tools": TOOLS.map(dumps)},
    ),
    "preference-swift": _row(
        {"messages": _SWIFT, "rejected_response": TEXT.map(lambda text: "-" + text)}, {"tools": TOOLS.map(dumps)}
    ),
    "kto": _row({"prompt": TEXT, "completion": TEXT, "label": st.booleans()}),
    "kto-messages": _row({"prompt": chat(ends="user"), "completion": WORDS.map(_said), "label": st.booleans()}),
    "kto-chat": _row({"messages": _PLAIN_END, "label": st.booleans()}, {"tools": _openai_tools()}),
    "kto-sharegpt": _row({"conversations": _SHARE, "kto_tag": st.booleans()}, {"tools": TOOLS.map(dumps)}),
    "kto-alpaca": _alpaca({"output": TEXT, "kto_tag": st.booleans()}),
    "evals": _row({"input": chat(ends="user"), "ideal": st.one_of(TEXT, st.lists(TEXT, min_size=2, max_size=3))}),
    "evals-text": _row({"input": TEXT, "ideal": st.one_of(TEXT, st.lists(TEXT, min_size=2, max_size=3))}),
    "rlvr": _row({"prompt": TEXT, "ground_truth": TEXT}),
    "rlvr-messages": _row({"prompt": chat(ends="user"), "ground_truth": TEXT}),
    "text": _row({"text": TEXT}),
    "classification": _row({"text": TEXT, "label": st.one_of(LABEL, _MANY)}),
    "multi-label": _row({"text": TEXT, "labels": _MANY}),
    "pair-classification": _row({"sentence1": TEXT, "sentence2": TEXT, "label": LABEL}),
    "nli": _row({"premise": TEXT, "hypothesis": TEXT, "label": LABEL}),
    "parallel": st.builds(
        lambda row, names: row | dict(zip(("source_language", "target_language"), names, strict=True)),
        _row({"source": TEXT, "target": TEXT}),
        _LANGUAGES,
    ),
    "translation": st.builds(
        lambda names, texts, extra: {"translation": dict(zip(names, texts, strict=True))} | extra,
        _LANGUAGES,
        st.lists(TEXT, min_size=2, max_size=2),
        EXTRA,
    ),
    "summary": _row({"document": TEXT, "summary": TEXT}),
    "squad": _row(
        {
            "context": TEXT,
            "question": TEXT,
            "answers": st.lists(st.tuples(TEXT, st.integers(0, 9)), max_size=2).map(
                lambda pairs: {"text": [text for text, _ in pairs], "answer_start": [start for _, start in pairs]}
            ),
        }
    ),
    "question-answer": _row(
        {"question": TEXT, "answer": st.one_of(TEXT, st.lists(TEXT, min_size=2, max_size=3))}, {"context": TEXT}
    ),
    "conll": st.lists(st.tuples(TEXT, LABEL), max_size=4).map(
        lambda pairs: {"tokens": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}
    ),
}
