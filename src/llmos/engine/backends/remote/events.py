"""The events of a streamed answer (`data: {…}` lines of the OpenAI API) as chunks. Pure: lines in, chunks out.

The last chunk of each answer waits for the end of the stream, because the usage that belongs to it comes after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from llmos.engine.base import Chunk
from llmos.errors import EngineError, SourceError
from llmos.types import FinishReason, TokenLogprob, ToolCall, Usage

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


class Events:
    """Reads one stream. n: answers that were asked for."""

    def __init__(self, n: int) -> None:
        self._open = set(range(n))
        self._last: list[Chunk] = []
        self._calls: dict[int, dict[int, dict[str, str]]] = {}  # answer -> place -> id, name, arguments, as they grow
        self._usage: Usage | None = None

    def chunks(self, lines: Iterable[str]) -> Iterator[Chunk]:
        """Raises SourceError for a stream that breaks off or is none, EngineError for one that reports a failure."""
        for event in _payloads(lines):
            if event.get("usage"):
                self._usage = _usage(event["usage"])
            for choice in event.get("choices") or ():
                chunk = self._chunk(choice)
                if chunk is not None:
                    yield chunk
        if self._open:
            raise SourceError(f"The endpoint ended its stream before answer {min(self._open)} was finished.")
        *others, final = self._last
        yield from others
        yield _with_usage(final, self._usage)

    def _chunk(self, choice: dict[str, Any]) -> Chunk | None:
        index, delta = int(choice.get("index", 0)), choice.get("delta") or {}
        if index not in self._open:
            raise SourceError(f"The endpoint streams answer {index}, which is finished or was not asked for.")
        text = choice.get("text") or delta.get("content") or delta.get("refusal") or ""
        for call in delta.get("tool_calls") or ():
            self._grow(index, call)
        logprobs = tuple(_logprobs(choice.get("logprobs") or {}))
        reason = choice.get("finish_reason")
        chunk = Chunk(
            index=index,
            token_ids=(-1,) * len(logprobs),
            logprobs=logprobs,
            text=text or None,
            finish_reason=_reason(reason) if reason else None,
            tool_calls=self._whole(index) if reason else (),
        )
        if reason:
            self._open.discard(index)
            self._last.append(chunk)
            return None
        return chunk if text or logprobs else None

    def _grow(self, index: int, part: dict[str, Any]) -> None:
        places = self._calls.setdefault(index, {})
        call = places.setdefault(int(part.get("index", len(places))), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = call["id"] or part.get("id") or ""
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def _whole(self, index: int) -> tuple[ToolCall, ...]:
        calls = []
        for place, call in sorted(self._calls.get(index, {}).items()):
            arguments = call["arguments"] or "{}"
            if not isinstance(_parsed(arguments), dict):
                raise EngineError(
                    f"The remote model called {call['name']!r} with arguments that are no JSON object: {arguments[:80]!r}."
                )
            calls.append(ToolCall(id=call["id"] or f"call_{index}_{place}", name=call["name"], arguments=arguments))
        return tuple(calls)


def _payloads(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if not line.startswith("data:"):
            continue  # comments, event names and empty lines of the SSE format
        data = line[5:].strip()
        if data == "[DONE]":
            return
        event = _parsed(data)
        if not isinstance(event, dict):
            raise SourceError(f"The endpoint sends an event that is no JSON object: {data[:80]!r}.")
        if event.get("error"):
            error = event["error"]
            raise EngineError(f"The endpoint failed: {error.get('message', error) if isinstance(error, dict) else error}")
        yield event


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reason(reason: str) -> FinishReason:
    if reason not in _REASONS:
        raise EngineError(f"The endpoint ended the answer for a reason of its own: {reason}.", hint="Often its content filter.")
    return _REASONS[reason]


def _usage(counted: dict[str, Any]) -> Usage:
    details = counted.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=counted.get("prompt_tokens") or 0,
        completion_tokens=counted.get("completion_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
    )


def _with_usage(chunk: Chunk, usage: Usage | None) -> Chunk:
    from dataclasses import replace

    return replace(chunk, usage=usage, cached_tokens=usage.cached_tokens if usage else 0)


def _logprobs(found: dict[str, Any]) -> Iterator[TokenLogprob]:
    """Both shapes: `content` of chat, parallel lists of completions."""
    for entry in found.get("content") or ():
        yield _entry(
            entry["token"], entry["logprob"], [(other["token"], other["logprob"]) for other in entry.get("top_logprobs") or ()]
        )
    tokens, values = found.get("tokens") or (), found.get("token_logprobs") or ()
    tops = found.get("top_logprobs") or [None] * len(tokens)
    for token, value, top in zip(tokens, values, tops, strict=True):
        yield _entry(token, value, list((top or {}).items()))


def _entry(token: str, value: float, top: list[tuple[str, float]]) -> TokenLogprob:
    top = sorted(top, key=lambda pair: -pair[1])
    return TokenLogprob(-1, value, tuple((-1, logprob) for _, logprob in top), (token, *(text for text, _ in top)))
