"""Lists of messages, read and written: OpenAI's way, and the tagged way of ShareGPT, where a tool call is a turn of its own.

OpenAI:    {"role": "assistant", "content": null, "tool_calls": [{"id": "call_0", "type": "function", "function": {…}}]}
ShareGPT:  {"from": "function_call", "value": "{\\"name\\": …, \\"arguments\\": {…}}"}

ShareGPT has no ids. Calls get call_0, call_1, … as they are read, and results are bound to them in order; ids that are just these
are left out again on writing, any other is written beside the name (readers of ShareGPT look at name and arguments only).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from msgspec import UNSET

from llmos.data.shapes.base import Row, Writing, is_messages
from llmos.data.shapes.records import Tools, Turn
from llmos.errors import InvalidValue

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_KNOWN = frozenset(("role", "content", "name", "tool_calls", "tool_call_id"))


def has_roles(messages: list[Row]) -> bool:
    """Whether every message has a role of OpenAI's."""
    return all(isinstance(role := message.get("role"), str) and role in ROLES for message in messages)


def read_turns(messages: list[Row], field: str) -> list[Turn]:
    """OpenAI's messages. Raises InvalidValue for a role or a content that OpenAI does not have."""
    return [_read_turn(message, field, at) for at, message in enumerate(messages)]


def read_answer(messages: list[Row], field: str) -> list[Turn]:
    """Messages that are an answer: at least one."""
    if not messages:
        raise InvalidValue("There is no answer.", param=field)
    return read_turns(messages, field)


def _read_turn(message: Row, field: str, at: int) -> Turn:
    role, content = message.get("role"), message.get("content", UNSET)
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidValue(f"Unknown role {role!r}.", param=f"{field}[{at}].role", hint=f"Known: {', '.join(sorted(ROLES))}.")
    if not (isinstance(content, str) or content is UNSET or content is None or is_messages(content)):
        raise InvalidValue(f"It must be text or a list of parts, not {type(content).__name__}.", param=f"{field}[{at}].content")
    turn = Turn(role=role, content=content)
    if len(message) > 2 or content is UNSET:
        turn.name, turn.tool_call_id = message.get("name"), message.get("tool_call_id")
        turn.tool_calls = _checked_calls(message.get("tool_calls"), f"{field}[{at}].tool_calls")
        turn.extra = {key: value for key, value in message.items() if key not in _KNOWN}
    return turn


def _checked_calls(calls: Any, field: str) -> list[Row] | None:
    if calls is None:
        return None
    if not isinstance(calls, list):
        raise InvalidValue(f"It must be a list, not {type(calls).__name__}.", param=field)
    for at, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidValue(
                "A tool call has the form {'id', 'type', 'function': {'name', 'arguments'}}.", param=f"{field}[{at}]"
            )
    return calls


def write_turns(turns: list[Turn]) -> list[Row]:
    """OpenAI's messages. Nothing can be lost."""
    return [_write_turn(turn) for turn in turns]


def _write_turn(turn: Turn) -> Row:
    message: Row = {"role": turn.role}
    if turn.content is not UNSET:
        message["content"] = turn.content
    if turn.name is not None:
        message["name"] = turn.name
    if turn.tool_calls is not None:
        message["tool_calls"] = turn.tool_calls
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    if turn.extra:
        message.update(turn.extra)
    return message


def text_of(turn: Turn, field: str, to: Writing) -> str:
    """The content as one text. What parts say beyond their text is reported as lost."""
    if isinstance(turn.content, str):
        return turn.content
    if not isinstance(turn.content, list):
        return ""
    texts = [text for part in turn.content if isinstance(text := part_text(part), str)]
    others = {str(part.get("type")) for part in turn.content if part_text(part) is None}
    if others:
        to.lose(field, f"the parts of type {', '.join(sorted(others))} in the content")
    if len(texts) > 1:
        to.lose(field, "the boundaries between the text parts of a content")
    return "".join(texts)


def part_text(part: Row) -> str | None:
    """The text of a text part: under "text" (OpenAI), or "value" (LLaMA-Factory v1)."""
    found = part.get("text", part.get("value")) if part.get("type", "text") == "text" else None
    return found if isinstance(found, str) else None


def plain(turn: Turn, role: str, field: str, to: Writing) -> str:
    """The text of a turn for a column that holds nothing else. Raises InvalidValue when the turn has another role."""
    if turn.role != role:
        raise InvalidValue(f"A message of role {role} belongs here; it is one of {turn.role}.", param=f"{field}.role")
    if turn.tool_calls:
        to.lose(f"{field}.tool_calls", "tool calls")
    if turn.name is not None:
        to.lose(f"{field}.name", "the name of a speaker")
    leave_keys(turn, field, to)
    return text_of(turn, f"{field}.content", to)


def leave_keys(turn: Turn, field: str, to: Writing) -> None:
    """For rows that have no place for other keys of a message. Parquet gives every message the keys of all: null is none."""
    for key, value in turn.extra.items():
        if value is not None:
            to.lose(f"{field}.{key}", f"the key {key!r} of messages")


def read_tools(value: Any, field: str) -> Tools | None:
    """OpenAI's list of tools, from such a list, from bare functions, or from the JSON text of either."""
    if value is None or value == "":
        return None
    found = _json(value, field) if isinstance(value, str) else value
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise InvalidValue("Tools are a list of objects.", param=field)
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in found]


def tools_text(tools: Tools) -> str:
    """The JSON text of bare functions, as LLaMA-Factory and ms-swift have it."""
    if isinstance(tools, str):
        return tools
    bare = [tool["function"] if tool.keys() == {"type", "function"} and tool["type"] == "function" else tool for tool in tools]
    return json.dumps(bare, ensure_ascii=False)


def leave_tools(tools: Tools | None, to: Writing) -> None:
    """For rows that have no place for tools. An empty list of tools is none."""
    if tools and tools != "[]":
        to.lose("tools", "the tools")


def _json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InvalidValue(f"It is not JSON: {problem}.", param=field) from None


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The keys and role names of tagged messages; the fields are LLaMA-Factory's `tags`, the defaults ShareGPT's."""

    role_tag: str = "from"
    content_tag: str = "value"
    user_tag: str = "human"
    assistant_tag: str = "gpt"
    observation_tag: str = "observation"
    function_tag: str = "function_call"
    system_tag: str = "system"

    @cached_property
    def roles(self) -> dict[str, str]:
        """Tag -> role; a function call is told from an answer by its tag. OpenAI's names for the same are understood too."""
        own = {self.observation_tag: "tool", self.system_tag: "system", self.assistant_tag: "assistant", self.user_tag: "user"}
        return {"user": "user", "assistant": "assistant", "tool": "tool", "system": "system"} | own | {self.function_tag: "call"}

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset((self.role_tag, self.content_tag, "name", "tool_call_id"))

    @classmethod
    def names(cls) -> list[str]:
        return [each.name for each in fields(cls)]


SHAREGPT = Tags()
SWIFT = Tags(
    role_tag="role",
    content_tag="content",
    user_tag="user",
    assistant_tag="assistant",
    observation_tag="tool_response",
    function_tag="tool_call",
)


class Ids:
    """Numbers the calls of a chat, and binds results to the calls before them in order."""

    def __init__(self) -> None:
        self._num_calls = 0
        self._open: list[str] = []

    def call(self) -> str:
        name = f"call_{self._num_calls}"
        self._num_calls += 1
        return name

    def opened(self, names: list[str]) -> None:
        self._open.extend(names)

    def result(self) -> str | None:
        return self._open.pop(0) if self._open else None

    def spoken(self) -> None:
        """Somebody but a tool has spoken: calls without a result stay without."""
        self._open.clear()

    @classmethod
    def after(cls, turns: list[Turn]) -> Ids:
        """Goes on counting where these turns of the same chat ended."""
        ids = cls()
        for turn in turns:
            if turn.tool_calls:
                defaults = [ids.call() for _ in turn.tool_calls]
                ids.opened([call.get("id") or default for call, default in zip(turn.tool_calls, defaults, strict=True)])
            elif turn.role == "tool":
                ids.result()
            else:
                ids.spoken()
        return ids


def read_tagged(messages: list[Row], tags: Tags, field: str, ids: Ids | None = None) -> list[Turn]:
    """Messages of ShareGPT's kind. ids: of the chat that they go on."""
    ids = ids or Ids()
    return [_read_tagged(message, tags, f"{field}[{at}]", ids) for at, message in enumerate(messages)]


def _read_tagged(message: Row, tags: Tags, field: str, ids: Ids) -> Turn:
    tag, content = message.get(tags.role_tag), message.get(tags.content_tag)
    role = tags.roles.get(tag) if isinstance(tag, str) else None
    if role is None:
        hint = f"Known: {', '.join(sorted(tags.roles))}."
        raise InvalidValue(f"Unknown speaker {tag!r}.", param=f"{field}.{tags.role_tag}", hint=hint)
    if not isinstance(content, str):
        raise InvalidValue(f"It must be text, not {type(content).__name__}.", param=f"{field}.{tags.content_tag}")
    turn = Turn(role=role, content=content)
    if len(message) > 2:
        turn.name, turn.tool_call_id = message.get("name"), message.get("tool_call_id")
        turn.extra = {key: value for key, value in message.items() if key not in tags.keys}
    if role == "call":
        turn.role, turn.content = "assistant", None
        turn.tool_calls = _read_calls(content, f"{field}.{tags.content_tag}", ids)
    elif role == "tool":
        expected = ids.result()
        turn.tool_call_id = turn.tool_call_id or expected
    else:
        ids.spoken()
    return turn


def _read_calls(text: str, field: str, ids: Ids) -> list[Row]:
    found = _json(text, field)
    calls = []
    for call in found if isinstance(found, list) else [found]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
            raise InvalidValue("A function call is JSON with name and arguments.", param=field)
        arguments = call["arguments"]
        function = {key: value for key, value in call.items() if key != "id"}
        function["arguments"] = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        default = ids.call()
        calls.append({"id": call.get("id", default), "type": "function", "function": function})
    ids.opened([call["id"] for call in calls])
    return calls


def write_tagged(turns: list[Turn], tags: Tags, field: str, to: Writing, ids: Ids | None = None) -> list[Row]:
    """Messages of ShareGPT's kind. `field` names the turns in errors."""
    ids = ids or Ids()
    return [_write_tagged(turn, tags, f"{field}[{at}]", to, ids) for at, turn in enumerate(turns)]


def _write_tagged(turn: Turn, tags: Tags, field: str, to: Writing, ids: Ids) -> Row:
    content = text_of(turn, f"{field}.content", to)
    message: Row = {}
    if turn.role in ("developer", "function"):
        to.lose(f"{field}.role", f"the role {turn.role} (it becomes {'system' if turn.role == 'developer' else 'tool'})")
    if turn.tool_calls:
        if content:
            to.lose(f"{field}.content", "the text beside a tool call")
        tag, content = tags.function_tag, _write_calls(turn.tool_calls, field, ids)
    elif turn.role in ("tool", "function"):
        tag, expected = tags.observation_tag, ids.result()
        if turn.tool_call_id is not None and turn.tool_call_id != expected:
            message["tool_call_id"] = turn.tool_call_id
    else:
        tag = {"user": tags.user_tag, "assistant": tags.assistant_tag}.get(turn.role, tags.system_tag)
        ids.spoken()
    if turn.name is not None:
        message["name"] = turn.name
    for key in turn.extra:
        if key in (tags.role_tag, tags.content_tag):
            raise InvalidValue(f"The key {key!r} of a message has another meaning in the new shape.", param=f"{field}.{key}")
    return {tags.role_tag: tag, tags.content_tag: content} | message | turn.extra


def _write_calls(calls: list[Row], field: str, ids: Ids) -> str:
    written: list[Row] = []
    names: list[str] = []
    for at, call in enumerate(calls):
        function, default = dict(call["function"]), ids.call()
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            arguments = _json(arguments, f"{field}.tool_calls[{at}].function.arguments")
        function["arguments"] = arguments
        names.append(call.get("id") or default)
        written.append(function if names[-1] == default else {"id": names[-1]} | function)
    ids.opened(names)
    return json.dumps(written[0] if len(written) == 1 else written, ensure_ascii=False)
