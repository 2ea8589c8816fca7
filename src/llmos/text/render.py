"""The one renderer of chat templates: messages and tools become the text that the model was trained on.

A template is a program from a stranger. It runs in jinja2's immutable sandbox inside a child process with one second of CPU and
256 MB (promise P20), one child for each loaded template, so that a hostile one delays nobody else. A template never comes from
a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmos.errors import ChildCrashed, InvalidValue, LimitExceeded, ModelFileError
from llmos.infra.sandbox import LimitedChild
from llmos.text.base import ChatTemplate
from llmos.types import Message, Tool, ToolCall

MEMORY_BYTES = 256 << 20
CPU_S = 1.0
WALL_S = 15.0  # for a machine whose cores are all busy; the CPU limit is what ends a hostile template
MAX_SOURCE_BYTES = 1 << 20
_RESERVED = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token")


class JinjaTemplate(ChatTemplate):
    """tool_source: another template for requests with tools, where the model has two. tokens: bos_token, eos_token, … by name."""

    def __init__(self, source: str, *, tool_source: str | None = None, tokens: Mapping[str, str] | None = None) -> None:
        for text in (source, tool_source or ""):
            if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
                raise ModelFileError(f"The chat template has more than {MAX_SOURCE_BYTES} bytes.")
        self.source = source
        self.supports_tools = tool_source is not None or "tools" in source
        self._tool_source = tool_source or source
        self._tokens = dict(tokens or {})
        self._child = LimitedChild("llmos.text.template_child:render", memory_bytes=MEMORY_BYTES, cpu_s=CPU_S, wall_s=WALL_S)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        extra: dict[str, Any] | None = None,
    ) -> str:
        if not messages:
            raise InvalidValue("messages is empty.", param="messages", hint="Give at least one message.")
        if continue_final and messages[-1].role != "assistant":
            raise InvalidValue(
                f"The last message is from {messages[-1].role!r}; only one from 'assistant' can be continued.", param="messages"
            )
        clash = sorted(set(extra or {}) & {*_RESERVED, *self._tokens})
        if clash:
            raise InvalidValue(f"{', '.join(clash)} cannot be set from outside: the template gets it from LLMOS.", param="extra")
        variables = {
            **self._tokens,
            **(extra or {}),
            "messages": [self._message(message) for message in messages],
            "tools": [_tool(tool) for tool in tools] or None,
            "add_generation_prompt": add_generation_prompt and not continue_final,
        }
        source = self._tool_source if tools else self.source
        return self._render({"source": source, "variables": variables, "continue_final": continue_final})

    def _render(self, argument: dict[str, Any]) -> str:
        try:
            return str(self._child.call(argument))
        except (LimitExceeded, ChildCrashed) as problem:
            raise ModelFileError(
                f"The model's chat template broke its limits and was stopped: {problem.message}",
                hint="Do not trust this model's files; get them from another source.",
            ) from None

    def close(self) -> None:
        """Ends the child process; a later `render` starts a new one."""
        self._child.close()

    def _message(self, message: Message) -> dict[str, Any]:
        """As templates expect it: `developer` is `system` to a template that does not know the newer name."""
        role = "system" if message.role == "developer" and "developer" not in self.source else message.role
        optional = {"name": message.name, "tool_call_id": message.tool_call_id}
        shown: dict[str, Any] = {"role": role, "content": message.content}
        shown |= {key: value for key, value in optional.items() if value is not None}
        if message.tool_calls:
            shown["tool_calls"] = [_call(call) for call in message.tool_calls]
        return shown


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        raise InvalidValue(f"The arguments of the tool call {call.name!r} are not JSON.", param="messages") from None
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
