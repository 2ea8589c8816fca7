"""Function calling over any engine: what the prompt opens with, how the output is constrained, how it is read back.

auto            the template shows the tools; calls are found in what the model writes
none            the tools are not shown
required, name  the answer is opened with the call's mark and constrained to a JSON object that fits the tool's schema
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmos.engine.generation import ToolParser
from llmos.errors import InvalidValue, UnsupportedFeature, did_you_mean
from llmos.text.base import ChatTemplate
from llmos.types import Constraint, Sampling, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """The plan for one request. opening: text put after the rendered prompt, where the answer starts."""

    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    remote: bool = False
    template: ChatTemplate | None = None

    @classmethod
    def plan(cls, template: ChatTemplate | None, tools: Sequence[Tool], choice: str, *, remote: bool) -> ToolUse:
        """Raises InvalidValue for an unknown tool_choice, UnsupportedFeature when the template has no place for tools."""
        names = [tool.name for tool in tools]
        if choice not in ("auto", "none", "required", *names):
            raise InvalidValue(
                f"tool_choice names the unknown tool {choice!r}.",
                param="tool_choice",
                hint=did_you_mean(choice, ["auto", "none", "required", *names]),
            )
        if choice == "required" and not tools:
            raise InvalidValue("tool_choice is 'required' but there are no tools.", param="tool_choice")
        if choice == "none" or not tools:
            return cls(choice=choice, remote=remote)
        if not remote and template is not None and not template.supports_tools:
            raise UnsupportedFeature(
                "The chat template of this model has no place for tools.",
                param="tools",
                hint="Use a model made for tool calls, such as qwen2.5-coder-1.5b-instruct.",
            )
        return cls(tools=tuple(tools), choice=choice, remote=remote, template=template)

    @property
    def forced(self) -> tuple[Tool, ...]:
        """The tools of which one must be called; () when the model may choose."""
        if self.remote or self.choice in ("auto", "none"):
            return ()
        return tuple(tool for tool in self.tools if self.choice in ("required", tool.name))

    @property
    def opening(self) -> str:
        return self._syntax().opening if self.forced else ""

    def constrain(self, sampling: Sampling) -> Sampling:
        """Adds the schema of a forced call. Raises InvalidValue when the output is constrained already."""
        if not self.forced:
            return sampling
        if sampling.constraint is not None:
            raise InvalidValue("A forced tool call and a response format exclude each other.", param="response_format")
        schemas = [_call_schema(tool, self._syntax().arguments_key) for tool in self.forced]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return replace(sampling, constraint=Constraint(kind="json_schema", value=schema))

    def parser(self) -> ToolParser | None:
        """A fresh reader for one answer; None when there is nothing to find. It has read the opening already."""
        if self.remote or not self.tools:
            return None
        from llmos.text.tools import ToolCallParser

        parser: ToolParser = ToolCallParser(self._syntax().name)
        if self.opening:
            parser.push(self.opening)
        return parser

    def _syntax(self) -> Any:
        from llmos.text.tools import syntax_of

        return syntax_of(self.template)


def _call_schema(tool: Tool, arguments_key: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, arguments_key: tool.parameters or {"type": "object"}},
        "required": ["name", arguments_key],
        "additionalProperties": False,
    }
