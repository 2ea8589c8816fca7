"""Tool calls in streamed text: every syntax, cut at every place, and nothing lost when it was no call."""

from __future__ import annotations

import json

import pytest

from llmos.text.render import JinjaTemplate
from llmos.text.tools import SYNTAXES, ToolCallParser, syntax_of
from llmos.types import ToolCall

CALL = '{"name": "add", "arguments": {"a": 1, "b": "<tool_call> \\n {x}"}}'
ADD = ("add", {"a": 1, "b": "<tool_call> \n {x}"})
NOW: tuple[str, dict[str, object]] = ("now", {})


def read(syntax: str, pieces: list[str]) -> tuple[str, list[ToolCall]]:
    parser = ToolCallParser(syntax)
    answers = [parser.push(piece) for piece in pieces] + [parser.flush()]
    return "".join(text for text, _ in answers), [call for _, calls in answers for call in calls]


CASES = [
    ("hermes", f"<tool_call>\n{CALL}\n</tool_call>", "", [ADD]),
    ("hermes", f"Let me see.\n\n<tool_call>{CALL}</tool_call>\n", "Let me see.", [ADD]),
    ("hermes", f'<tool_call>{CALL}</tool_call>\n<tool_call>{{"name":"now","arguments":{{}}}}</tool_call>', "", [ADD, NOW]),
    ("hermes", f"<tool_call>[{CALL}, {CALL}]</tool_call>", "", [ADD, ADD]),
    ("hermes", f"<tool_call>\n{CALL}", "", [ADD]),  # a forced call ends with its object
    ("hermes", "```json\n" + CALL + "\n```", "", [ADD]),
    ("hermes", CALL, "", [ADD]),
    ("hermes", "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=c>\nx y\n</parameter>\n</function>\n</tool_call>",
     "", [("add", {"a": 1, "c": "x y"})]),
    ("llama3", '{"name": "add", "parameters": {"a": 1}}', "", [("add", {"a": 1})]),
    ("llama3", '<|python_tag|>{"name": "add", "parameters": {"a": 1}}; {"name": "now", "parameters": {}}', "", [("add", {"a": 1}), NOW]),
    ("llama3", '{"type": "function", "function": {"name": "now", "arguments": "{}"}}', "", [NOW]),
    ("mistral", f"[TOOL_CALLS] [{CALL}]", "", [ADD]),
    ("mistral", f"[TOOL_CALLS] [{CALL}", "", [ADD]),
    ("mistral", '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{}', "", [("add", {"a": 1}), NOW]),
]  # fmt: skip
NO_CALLS = [
    ("hermes", "Plain text, with a < b and <tool> and  two spaces \n"),
    ("hermes", "<tool_call>not json</tool_call> and more"),
    ("hermes", '<tool_call>{"name": "add", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": "add", "argum'),
    ("hermes", '{"answer": 42}'),
    ("hermes", '{"name": "Ada", "born": 1815}'),
    ("hermes", "{ int x; }"),
    ("hermes", "```json\n{\"a\": 1}\n```\nThat's it."),
    ("hermes", "```python\nprint()\n```"),
    ("hermes", "ends with <tool_c"),
    ("hermes", "  \n"),
    ("llama3", "<|python_tag|>print(1)"),
    ("mistral", "[TOOL_CALLS] nothing"),
    ("mistral", "[" * 3000),
    ("llama3", '{"name": ' + "[" * 5000),
]  # fmt: skip


@pytest.mark.parametrize(("syntax", "text", "rest", "calls"), CASES)
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_calls_are_found_wherever_the_stream_is_cut(
    syntax: str, text: str, rest: str, calls: list[tuple[str, object]], size: int
) -> None:
    found_rest, found = read(syntax, [text[i : i + size] for i in range(0, len(text), size)])
    assert [(call.name, json.loads(call.arguments)) for call in found] == calls
    assert found_rest == rest
    assert len({call.id for call in found}) == len(found)


@pytest.mark.parametrize(("syntax", "text"), NO_CALLS)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_what_is_no_call_comes_back_as_text(syntax: str, text: str, size: int) -> None:
    assert read(syntax, [text[i : i + size] for i in range(0, len(text), size)]) == (text, [])


def test_text_is_not_held_back_without_need() -> None:
    parser = ToolCallParser("hermes")
    assert parser.push("Hello <b") == ("Hello <b", [])
    assert parser.push(" <tool") == ("", [])
    assert parser.push("s>!") == (" <tools>!", [])
    assert ToolCallParser("hermes").push('{"answer": ')[0] == '{"answer":'  # white space may belong to a call that follows


def test_calls_arrive_with_their_closing_mark() -> None:
    parser = ToolCallParser("hermes")
    _, calls = parser.push(f"<tool_call>{CALL}</tool_call>")
    assert [call.name for call in calls] == ["add"]
    assert calls[0].id.startswith("call_")


def test_mistral_ids_have_nine_characters() -> None:
    _, calls = read("mistral", [f"[TOOL_CALLS] [{CALL}]"])
    assert len(calls[0].id) == 9
    assert read("mistral", ["[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{}"])[1][0].id == "abc123def"


def test_syntax_is_that_of_the_template() -> None:
    assert syntax_of(JinjaTemplate("… <tool_call> …")).name == "hermes"
    assert syntax_of(JinjaTemplate("{{ '[TOOL_CALLS]' }}")).name == "mistral"
    assert syntax_of(JinjaTemplate("{{ '<|python_tag|>' }}")).name == "llama3"
    assert syntax_of(None).name == "llama3"


@pytest.mark.parametrize("name", list(SYNTAXES))
def test_a_forced_call_can_be_read(name: str) -> None:
    """What engine/tooluse.py does: the opening, then an object under the syntax's own key."""
    syntax = SYNTAXES[name]
    text = syntax.opening + json.dumps({"name": "add", syntax.arguments_key: {"a": 1}})
    rest, calls = read(name, [text])
    assert (rest, [(call.name, json.loads(call.arguments)) for call in calls]) == ("", [("add", {"a": 1})])
