"""What generation returns: a `str` that remembers how it came about, and a stream of such text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from llmos.engine.generation import Completion, Delta
from llmos.types import FinishReason, TokenLogprob, ToolCall, Usage


class Text(str):
    """An answer. It is a plain string everywhere a string is wanted, and also knows:

    model and engine that wrote it, usage in tokens, finish_reason ("length" means max_tokens was reached), logprobs when asked
    for, tool_calls of a chat, and `choices`: all n answers when n > 1 (this one is choices[0]).
    """

    __slots__ = ("choices", "engine", "finish_reason", "logprobs", "model", "tool_calls", "usage")

    model: str
    engine: str
    usage: Usage
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprob, ...]
    tool_calls: tuple[ToolCall, ...]
    choices: tuple[Text, ...]


class Answer(Protocol):
    """A running generation, in process (engine.generation.Generation) or over HTTP (sdk.http.RemoteGeneration)."""

    @property
    def usage(self) -> Usage: ...

    @property
    def engine(self) -> str: ...

    def __iter__(self) -> Iterator[Delta]: ...

    def __aiter__(self) -> AsyncIterator[Delta]: ...

    def cancel(self) -> None: ...

    def result(self) -> list[Completion]: ...


def collect(answer: Answer, model: str) -> Text:
    """Waits for all n answers of a generation. Raises what the engine raised."""
    return to_text(answer.result(), answer, model)


async def acollect(answer: Answer, model: str) -> Text:
    """`collect` for an event loop: the waiting happens in a thread."""
    return await asyncio.to_thread(collect, answer, model)


def to_text(completions: list[Completion], answer: Answer, model: str) -> Text:
    texts = []
    for completion in completions:
        text = Text(completion.text)
        text.model, text.engine, text.usage = model, answer.engine, answer.usage
        text.finish_reason = completion.finish_reason
        text.logprobs, text.tool_calls = tuple(completion.logprobs), tuple(completion.tool_calls)
        texts.append(text)
    for text in texts:
        text.choices = tuple(texts)
    return texts[0]


class TextStream:
    """Pieces of one answer as they are written. Iterate it once, with `for` or `async for`; leaving the loop early cancels.

    After the end: `text` is the whole answer, `usage`, `engine` and `finish_reason` say the rest.
    """

    def __init__(self, answer: Answer, model: str) -> None:
        self._answer = answer
        self._pieces: list[str] = []
        self.model = model
        self.finish_reason: FinishReason | None = None
        self.tool_calls: tuple[ToolCall, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def usage(self) -> Usage:
        return self._answer.usage

    @property
    def engine(self) -> str:
        return self._answer.engine

    def cancel(self) -> None:
        self._answer.cancel()

    def _take(self, delta: Delta) -> str:
        self._pieces.append(delta.text)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.tool_calls += tuple(delta.tool_calls)
        return delta.text

    def __iter__(self) -> Iterator[str]:
        try:
            for delta in self._answer:
                if piece := self._take(delta):
                    yield piece
        finally:
            if self.finish_reason is None:
                self.cancel()

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async for delta in self._answer:
                if piece := self._take(delta):
                    yield piece
        finally:
            if self.finish_reason is None:
                self.cancel()
