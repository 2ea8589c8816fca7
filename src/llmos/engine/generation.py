"""One running generation as a user sees it: text, not tokens.

    Handle (chunks of token ids)  --Assembler per answer-->  Delta (text, tokens, logprobs)  --result()-->  Completion

Detokenising, stop strings and tool calls happen here, once, for every engine. A Generation is iterated once, from a thread
(`for`) or an event loop (`async for`); leaving the loop early cancels it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmos.engine.base import Chunk, Handle, Request
from llmos.errors import Conflict
from llmos.text.base import TextStream
from llmos.types import FinishReason, TokenIds, TokenLogprob, ToolCall, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What became certain of answer `index`. Text is never taken back; a token comes with the first text it is part of.

    finish_reason is set on the last delta of an answer, stop_text with it when a stop text ended the answer. tool_calls are whole calls.
    """

    index: int = 0
    text: str = ""
    token_ids: TokenIds = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One whole answer. token_ids and logprobs are those of `text`, without the stop string (`stop_text`) and what followed it."""

    index: int
    text: str
    token_ids: TokenIds
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason
    stop_text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


Meter = Callable[[Usage], None]


def unmetered(usage: Usage) -> None:
    """The meter of whom nobody counts."""


class ToolParser(Protocol):
    """Finds tool calls in streamed text (text/tools.py): both give the text that is no call, and the calls that are complete."""

    def push(self, text: str) -> tuple[str, Sequence[ToolCall]]: ...

    def flush(self) -> tuple[str, Sequence[ToolCall]]: ...


class Assembler:
    """Turns the tokens of one answer into deltas.

    `_text` is all text so far; `_text[:_sent]` has left. Text that could be the start of a stop string is held back:

        0 ........ _sent ........ len(_text) - longest proper prefix of a stop string ........ len(_text)

    A waiting token leaves with the first text past its start; tokens that start in a stop string or after it are dropped.
    """

    def __init__(self, index: int, stream: TextStream | None, stop: tuple[str, ...], parser: ToolParser | None) -> None:
        self.index = index
        self.finished = False
        self.by_engine = False  # finished because the engine ended it: nothing is left to cancel
        self.num_tokens = 0
        self._stream, self._stop, self._parser = stream, stop, parser
        self._text, self._sent = "", 0
        self._waiting: deque[tuple[int, int, TokenLogprob | None]] = deque()  # (start in _text, id, logprob)
        self._called = False
        self._stopped_by: str | None = None

    def push(self, chunk: Chunk) -> Delta | None:
        """The delta of this chunk, or None when everything is held back. Sets `finished` with the last one."""
        if self.finished:
            return None
        for place, token in enumerate(chunk.token_ids):
            logprob = chunk.logprobs[place] if place < len(chunk.logprobs) else None
            self._waiting.append((len(self._text), token, logprob))
            self.num_tokens += 1
            if self._stream is not None and self._add(self._stream.push([token])):
                return self._end("stop", stopped=True)
        if chunk.text is not None and self._add(chunk.text):
            return self._end("stop", stopped=True)
        if chunk.finish_reason is not None:
            self.by_engine = True
            stopped = self._add(self._stream.flush()) if self._stream is not None else False
            return self._end("stop" if stopped else chunk.finish_reason, stopped=stopped, calls=chunk.tool_calls)
        return self._release(len(self._text) - self._held(), None, calls=chunk.tool_calls)

    def close(self, reason: FinishReason) -> Delta | None:
        """Ends an answer whose engine gave no last chunk."""
        return None if self.finished else self.push(Chunk(index=self.index, finish_reason=reason))

    def _add(self, piece: str) -> bool:
        """Appends text; True when a stop string is complete, with `_text` cut before it."""
        if not piece:
            return False
        longest = max(map(len, self._stop), default=0)
        search_from = max(self._sent, len(self._text) - longest + 1)
        self._text += piece
        found = [(at, stop) for at, stop in ((self._text.find(stop, search_from), stop) for stop in self._stop) if at >= 0]
        if found:
            at, self._stopped_by = min(found)
            self._text = self._text[:at]
        return bool(found)

    def _held(self) -> int:
        """Length of the longest end of `_text` that begins a stop string."""
        for length in range(min(max(map(len, self._stop), default=1) - 1, len(self._text) - self._sent), 0, -1):
            if any(stop.startswith(self._text[-length:]) for stop in self._stop):
                return length
        return 0

    def _end(self, reason: FinishReason, *, stopped: bool, calls: Sequence[ToolCall] = ()) -> Delta:
        self.finished = True
        delta = self._release(len(self._text), reason, everything=not stopped, calls=calls)
        assert delta is not None
        return delta

    def _release(
        self, end: int, reason: FinishReason | None, *, everything: bool = False, calls: Sequence[ToolCall] = ()
    ) -> Delta | None:
        text = self._text[self._sent : end]
        self._sent = end
        tokens: list[tuple[int, TokenLogprob | None]] = []
        while self._waiting and (everything or self._waiting[0][0] < end):
            tokens.append(self._waiting.popleft()[1:])
        calls = list(calls)
        if self._parser is not None:
            text, found = self._parser.push(text)
            calls += found
            if reason is not None:
                rest, found = self._parser.flush()
                text, calls = text + rest, [*calls, *found]
        self._called = self._called or bool(calls)
        if reason == "stop" and self._called:
            reason = "tool_calls"
        if not (text or tokens or calls or reason):
            return None
        return Delta(
            index=self.index,
            text=text,
            token_ids=tuple(token for token, _ in tokens),
            logprobs=tuple(logprob for _, logprob in tokens if logprob is not None),
            finish_reason=reason,
            stop_text=self._stopped_by if reason else None,
            tool_calls=tuple(calls),
        )


class Generation:
    """A running request of a Session. Iterate it (sync or async, once), or take `result()` / `await aresult()`.

    id: of the request. engine: "openvino/default", what serves it. prompt_ids: the prompt as the engine got it, () for a
    remote engine. meter: told once, at the end, of the tokens. Errors arrive while iterating: EngineDied, DeadlineExceeded, …
    """

    def __init__(
        self,
        handle: Handle,
        *,
        engine: str,
        assembler: Callable[[int], Assembler],
        prompt_ids: TokenIds = (),
        on_end: Callable[[], None] = lambda: None,
        meter: Meter = unmetered,
    ) -> None:
        self.id = handle.request.id
        self.engine = engine
        self.prompt_ids = prompt_ids
        self._handle = handle
        self._answers = [assembler(index) for index in range(handle.request.sampling.n)]
        self._on_end = on_end
        self._meter = meter
        self._ended = False
        self._started = False
        self._cached_tokens = 0
        self._counted: Usage | None = None

    @property
    def request(self) -> Request:
        return self._handle.request

    @property
    def usage(self) -> Usage:
        """Tokens so far; final once iteration has ended. Of a remote engine: what the endpoint counted."""
        return self._counted or Usage(
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=sum(answer.num_tokens for answer in self._answers),
            cached_tokens=self._cached_tokens,
        )

    def cancel(self) -> None:
        """Idempotent, from any thread. Iteration then ends with finish_reason "cancelled" on the unfinished answers."""
        self._handle.cancel()

    def __iter__(self) -> Iterator[Delta]:
        self._begin()
        try:
            for chunk in self._handle:
                yield from self._deltas(chunk)
                if self._done:
                    return
            yield from self._remaining()
        finally:
            self._end()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        self._begin()
        try:
            async for chunk in self._handle:
                for delta in self._deltas(chunk):
                    yield delta
                if self._done:
                    return
            for delta in self._remaining():
                yield delta
        finally:
            self._end()

    def result(self) -> list[Completion]:
        """All n answers, in order of index. Blocks until the last is finished."""
        return completions_of(list(self))

    async def aresult(self) -> list[Completion]:
        return completions_of([delta async for delta in self])

    # -- how it works ------------------------------------------------------------------------------------------------
    @property
    def _done(self) -> bool:
        return all(answer.finished for answer in self._answers)

    def _begin(self) -> None:
        if self._started:
            raise Conflict("A generation can be iterated once.", hint="Keep its result, or ask again.")
        self._started = True

    def _deltas(self, chunk: Chunk) -> Iterator[Delta]:
        self._cached_tokens = max(self._cached_tokens, chunk.cached_tokens)
        self._counted = chunk.usage or self._counted
        delta = self._answers[chunk.index].push(chunk)
        if delta is not None:
            yield delta

    def _remaining(self) -> Iterator[Delta]:
        """The engine has closed; what it left unfinished was cancelled."""
        for answer in self._answers:
            delta = answer.close("cancelled")
            if delta is not None:
                yield delta

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if not all(answer.by_engine for answer in self._answers):
                self._handle.cancel()
            self._on_end()
            self._meter(self.usage)

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):  # never iterated: free the slot all the same
            self._end()


def completions_of(deltas: Sequence[Delta]) -> list[Completion]:
    """The answers that all deltas of a generation make, in order of index."""
    indexes = sorted({delta.index for delta in deltas})
    return [_join(index, [delta for delta in deltas if delta.index == index]) for index in indexes]


def _join(index: int, deltas: Sequence[Delta]) -> Completion:
    return Completion(
        index=index,
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        logprobs=tuple(logprob for delta in deltas for logprob in delta.logprobs),
        finish_reason=next((delta.finish_reason for delta in reversed(deltas) if delta.finish_reason), "cancelled"),
        stop_text=next((delta.stop_text for delta in reversed(deltas) if delta.stop_text), None),
        tool_calls=tuple(call for delta in deltas for call in delta.tool_calls),
    )
