"""Finds the tool calls in what a model writes, while it writes.

Each family of models marks its calls in its own way; the chat template shows which (`syntax_of`):

    hermes    <tool_call>{"name": …, "arguments": {…}}</tool_call>      Qwen, Hermes, SmolLM (also <function=…> inside)
    mistral   [TOOL_CALLS][{"name": …, "arguments": {…}}]               or [TOOL_CALLS]name[ARGS]{…}
    llama3    {"name": …, "parameters": {…}}                            the whole answer, perhaps after <|python_tag|>

Text that looked like a call but is none comes back as text: nothing a model wrote is dropped.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from llmos.text.base import ChatTemplate
from llmos.types import ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """open, close: the marks; close "" means up to the end of the answer. opening: what to put after the prompt to force a
    call, whose JSON object then follows. arguments_key: under which the arguments stand in that object."""

    name: str
    open: str
    close: str = ""
    opening: str = ""
    arguments_key: str = "arguments"
    id_length: int = 24


SYNTAXES = {
    syntax.name: syntax
    for syntax in (
        Syntax(name="hermes", open="<tool_call>", close="</tool_call>", opening="<tool_call>\n"),
        Syntax(name="mistral", open="[TOOL_CALLS]", opening="[TOOL_CALLS] [", id_length=9),  # its template wants 9 characters
        Syntax(name="llama3", open="<|python_tag|>", arguments_key="parameters"),
    )
}
_NAME_KEYS, _ARGUMENT_KEYS = ("name", "function"), ("arguments", "parameters")
_CALL_KEYS = ("type", "id", *_NAME_KEYS, *_ARGUMENT_KEYS)
_FIRST_KEY = re.compile(r'"([^"]*)"\s*:')
_BARE_START = re.compile(r"(```(?:json)?\s*)?\{")
_BARE_MAYBE = "```json\n{"
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```\s*)?", re.DOTALL)
_BETWEEN = re.compile(r"(?:\[TOOL_CALLS\]|<\|python_tag\|>|[\s;,\[\]])*")
_XML_CALL = re.compile(r"<function=([^>\s]+)>(.*?)</function>", re.DOTALL)
_XML_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_MISTRAL_CALL = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*(\w+)\s*)?(?:\[ARGS\])?\s*(?=\{)")


def syntax_of(template: ChatTemplate | None) -> Syntax:
    """The syntax that a template teaches; llama3's bare JSON where it shows none."""
    source = template.source if template is not None else ""
    return next((syntax for syntax in SYNTAXES.values() if syntax.open in source), SYNTAXES["llama3"])


class ToolCallParser:
    """Reads one answer piece by piece. `push` and `flush` give the text that is certainly no call, and the calls that are
    complete. White space around a call goes with the call."""

    def __init__(self, syntax: str) -> None:
        self._syntax = SYNTAXES[syntax]
        self._buffer = ""
        self._mode = "start"  # start: nothing but white space so far; text; call: inside marks; bare: an answer that is all JSON
        self._called = False

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        self._buffer += text
        out, calls = "", list[ToolCall]()
        while True:
            if self._mode in ("start", "bare") and not self._decide_start():
                return out, calls
            if self._mode == "text":
                before, found = self._text()
                out += before
                if not found:
                    return out, calls
            close = self._syntax.close
            end = self._buffer.find(close) if close else -1
            if end < 0:
                return out, calls
            body, self._buffer = self._buffer[:end], self._buffer[end + len(close) :]
            made = self._calls(body)
            calls += made
            out += "" if made else self._syntax.open + body + close
            self._mode, self._called = ("start", True) if made else ("text", self._called)

    def flush(self) -> tuple[str, list[ToolCall]]:
        rest, self._buffer = self._buffer, ""
        fenced = _FENCE.fullmatch(rest.strip()) if self._mode == "bare" else None
        calls = self._calls(fenced[1] if fenced else rest) if self._mode in ("call", "bare") else []
        mark = self._syntax.open if self._mode == "call" else ""
        if self._called and not rest.strip() and not mark:
            rest = ""
        return ("", calls) if calls else (mark + rest, [])

    def _decide_start(self) -> bool:
        """Whether it is clear how the answer starts; then moves on to text. A bare JSON object is held to its end, unless its
        first key shows that it is no call."""
        text = self._buffer.lstrip()
        if _BARE_START.match(text):
            self._mode = "bare"
            inside = text[text.index("{") + 1 :].lstrip()
            key = _FIRST_KEY.match(inside)
            if (
                not inside
                or (inside[0] == '"' and key is None)
                or (key and key[1] in ("name", "type", "id", *_NAME_KEYS, *_ARGUMENT_KEYS))
            ):
                return False
        elif not text or (len(text) < len(_BARE_MAYBE) and _BARE_MAYBE.startswith(text)):
            return False
        self._mode = "text"
        return True

    def _text(self) -> tuple[str, bool]:
        """The text before a mark, and whether there is a mark. What could be the start of one is held back."""
        mark = self._syntax.open
        at = self._buffer.find(mark)
        if at >= 0:
            before, self._buffer, self._mode = self._buffer[:at].rstrip(), self._buffer[at + len(mark) :], "call"
            return before, True
        held = next((n for n in range(min(len(mark) - 1, len(self._buffer)), 0, -1) if self._buffer.endswith(mark[:n])), 0)
        ready = self._buffer[: len(self._buffer) - held].rstrip()
        self._buffer = self._buffer[len(ready) :]
        return ready, False

    def _calls(self, body: str) -> list[ToolCall]:
        """All calls in the text between marks; [] when any part of it is no call."""
        try:
            if self._syntax.name == "mistral" and not body.lstrip().startswith(("[{", "[ {", "{")):
                found = [call for part in body.split(self._syntax.open) if part.strip() for call in _mistral(part)]
            elif "<function=" in body:
                found = [(name, _xml_arguments(inner), "") for name, inner in _XML_CALL.findall(body)]
            else:
                found = [_named(value) for value in _objects(body)]
        except (ValueError, RecursionError):
            return []
        return [self._call(*parts) for parts in found]

    def _call(self, name: str, arguments: dict[str, Any], given_id: str) -> ToolCall:
        length = self._syntax.id_length
        made = secrets.token_hex(length)[:length]
        number = given_id or (made if length == 9 else f"call_{made}")
        return ToolCall(id=number, name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def _objects(text: str) -> list[Any]:
    """The JSON objects that follow each other, in a list or apart; a list that is still open counts. Raises ValueError."""
    decoder = json.JSONDecoder(strict=False)
    found, place = [], _match_end(text, 0)
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place = _match_end(text, place)
    return found


def _match_end(text: str, place: int) -> int:
    match = _BETWEEN.match(text, place)
    return match.end() if match else place


def _named(value: Any) -> tuple[str, dict[str, Any], str]:
    """(name, arguments, id) of a call object in any of its shapes. Raises ValueError when it is none."""
    given_id = value.get("id") if isinstance(value, dict) else None
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), "") if isinstance(value, dict) else ""
    present = [value[key] for key in _ARGUMENT_KEYS if key in value] if name else []
    arguments = json.loads(present[0]) if present and isinstance(present[0], str) else (present or [None])[0]
    if not name or not isinstance(arguments, dict):
        raise ValueError("not a call")
    return name, arguments, given_id if isinstance(given_id, str) else ""


def _mistral(part: str) -> list[tuple[str, dict[str, Any], str]]:
    start = _MISTRAL_CALL.match(part)
    values = _objects(part[start.end() :]) if start else []
    if start is None or len(values) != 1 or not isinstance(values[0], dict):
        raise ValueError("not a call")
    return [(start[1], values[0], start[2] or "")]


def _xml_arguments(inner: str) -> dict[str, Any]:
    """<parameter=x>…</parameter> …: each value as JSON where it is JSON, otherwise the text itself."""
    arguments: dict[str, Any] = {}
    for name, value in _XML_PARAMETER.findall(inner):
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments
