"""Keeps what people write in a chat from acting as control tokens of the model.

A rendered template is read with control tokens: that is how turns are marked. A message that holds the text "<|im_end|>" would
end its turn and could open a system turn of its own. So, for the time of the rendering, such texts are replaced by marks that
nobody can guess; around each mark the prompt is then encoded as plain text. A chat without them is encoded as it always was.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from llmos.text.base import Tokenizer
from llmos.types import Message, TokenIds, Tool, ToolCall


class Shield:
    """For one prompt: first everything that goes into the template, then `encode` what came out of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._control = _any_of(tokenizer.control)
        self._key = str(secrets.randbelow(9 * 10**23) + 10**23)  # digits: no filter of a template changes them
        self._mark = re.compile(self._key + r"(\d{6})")
        self._hidden: list[str] = []

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        return [
            replace(
                message,
                role=self.value(message.role),
                content=self.value(message.content),
                name=self.value(message.name),
                tool_call_id=self.value(message.tool_call_id),
                tool_calls=tuple(map(self._call, message.tool_calls)),
            )
            for message in messages
        ]

    def tools(self, tools: Sequence[Tool]) -> list[Tool]:
        return [
            replace(
                tool, name=self.value(tool.name), description=self.value(tool.description), parameters=self.value(tool.parameters)
            )
            for tool in tools
        ]

    def value(self, value: Any) -> Any:
        """The same value; control tokens in its texts, at any depth, are marks."""
        if isinstance(value, str):
            return self._control.sub(self._hide, value)
        if isinstance(value, dict):
            return {self.value(key): self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value

    def _call(self, call: ToolCall) -> ToolCall:
        """The arguments are JSON, where a control token may be written with escapes."""
        arguments = call.arguments
        try:
            read = json.loads(arguments or "{}")
            shielded = self.value(read)
            arguments = arguments if shielded == read else json.dumps(shielded)
        except (ValueError, RecursionError):
            pass  # the template's renderer refuses them
        return replace(call, id=self.value(call.id), name=self.value(call.name), arguments=arguments)

    def _hide(self, found: re.Match[str]) -> str:
        self._hidden.append(found[0])
        return f"{self._key}{len(self._hidden) - 1:06d}"

    def encode(self, prompt: str) -> TokenIds:
        """The ids of a rendered prompt. From one of the template's control tokens to its next, a stretch with a mark in it is
        plain text, and whole, so that its tokens are those of the text as it was written."""
        if not self._hidden:
            return self._tokenizer.encode(prompt, parse_special=True)
        edges = [(found.start(), found.end()) for found in self._control.finditer(prompt)]
        ends, starts = [0, *(end for _, end in edges)], [*(start for start, _ in edges), len(prompt)]
        ids: list[int] = []
        done = 0
        for start, end in zip(ends, starts, strict=True):
            if self._mark.search(prompt, start, end):
                ids += self._tokenizer.encode(prompt[done:start], parse_special=True)
                ids += self._tokenizer.encode(self._mark.sub(lambda mark: self._hidden[int(mark[1])], prompt[start:end]))
                done = end
        ids += self._tokenizer.encode(prompt[done:], parse_special=True)
        return tuple(ids)


@lru_cache(maxsize=8)
def _any_of(texts: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
