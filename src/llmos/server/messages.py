"""Chat messages and tools as OpenAI clients send them, turned into the records of `llmos.types`.

Content may be a text or a list of text parts. Images, sound and files are refused by name: no model here reads them yet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from llmos.errors import EngineError, InvalidValue
from llmos.server.fields import Body, checked_schema
from llmos.types import Message, Tool, ToolCall

MAX_MESSAGES = 1024
MAX_TOOLS = 128
_NAME = r"^[A-Za-z0-9_.-]{1,64}$"


class TextPart(Body):
    refused: ClassVar[dict[str, str]] = {
        "image_url": "no model here reads images",
        "input_audio": "no model here reads audio",
        "file": "no model here reads files",
        "prompt_cache_breakpoint": "shared prefixes are found without marks",
    }
    type: Literal["text", "refusal"]
    text: str = ""
    refusal: str = ""


class CalledFunction(Body):
    name: str = Field(pattern=_NAME)
    arguments: str


class CalledTool(Body):
    id: str = Field(min_length=1, max_length=256)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    refused: ClassVar[dict[str, str]] = {
        "audio": "no model here speaks",
        "function_call": "it is deprecated; use tool_calls",
    }
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] = ""
    name: str | None = Field(None, max_length=64)
    refusal: str | None = None
    tool_calls: list[CalledTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_call_id: str | None = None

    def record(self, place: int) -> Message:
        """Raises InvalidValue naming `messages[place]` when fields and role do not belong together."""
        where = f"messages[{place}]"
        if self.tool_calls and self.role != "assistant":
            raise InvalidValue(f"{where}: only an assistant message has tool_calls.", param=f"{where}.tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise InvalidValue(f"{where}: a tool message, and no other, has a tool_call_id.", param=f"{where}.tool_call_id")
        parts = [self.content] if isinstance(self.content, str) else [part.text or part.refusal for part in self.content]
        calls = tuple(ToolCall(id=c.id, name=c.function.name, arguments=c.function.arguments) for c in self.tool_calls)
        return Message(
            role=self.role,
            content="".join(parts) + (self.refusal or ""),
            name=self.name,
            tool_calls=calls,
            tool_call_id=self.tool_call_id,
        )


class Function(Body):
    """strict: the arguments are checked against `parameters`; a call that breaks them is an error, never passed on."""

    name: str = Field(pattern=_NAME)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool = False

    @field_validator("parameters")
    @classmethod
    def _schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            return checked_schema(value, "parameters")
        except InvalidValue as problem:
            raise ValueError(problem.message) from None


class FunctionTool(Body):
    refused: ClassVar[dict[str, str]] = {"custom": "only function tools are served"}
    type: Literal["function"]
    function: Function

    def record(self) -> Tool:
        return Tool(name=self.function.name, description=self.function.description, parameters=self.function.parameters)


class NamedFunction(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["auto", "none", "required"] | NamedTool


def choice_of(choice: ToolChoice) -> str:
    return choice if isinstance(choice, str) else choice.function.name


def records(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    return tuple(message.record(place) for place, message in enumerate(messages))


class StrictTools:
    """Holds calls of tools declared `strict` to their schema."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self._schemas = {function.name: function.parameters for function in functions if function.strict}

    def check(self, calls: Sequence[ToolCall]) -> None:
        """Raises EngineError naming the tool and what is wrong with its arguments."""
        for call in calls:
            if call.name not in self._schemas:
                continue
            from jsonschema import Draft202012Validator

            problem = next(Draft202012Validator(self._schemas[call.name]).iter_errors(json.loads(call.arguments)), None)
            if problem is not None:
                raise EngineError(
                    f"The model called {call.name!r} with arguments that break its schema: {problem.message[:200]}.",
                    param="tools",
                    hint="Set tool_choice to that function to have the arguments constrained, or strict to false.",
                )
