"""The contract of an inference engine, and the records that cross it.

    Backend   knows whether it is installed, which cards it can run and how; loads one
      └─ Engine    one loaded model: submit -> Handle (a stream of Chunk), score, embed, classify, tag, fill_mask
           └─ Handle   one running request; iterate it (sync or async), cancel it

Engines see token ids, never text (a remote endpoint is the exception: it declares TEXT_ONLY and reads `text` or `messages`).
Every method may be called from any thread. What an engine cannot do is absent from `features`; a caller asks for what it
needs (`needed_features` of needs.py) and gets another engine or an error, never a silent omission.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmos.errors import DeadlineExceeded, LLMOSError
from llmos.library.base import ModelCard
from llmos.registry import Registry
from llmos.types import FinishReason, Message, Sampling, TokenIds, TokenLogprob, Tool, ToolCall, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Feature(StrEnum):
    """One thing a request can need. A backend declares the set it serves for a card."""

    GENERATE = "generate"
    BATCHING = "batching"  # requests join and leave a running batch
    PREFIX_CACHE = "prefix-cache"
    SEED = "seed"
    LOGPROBS = "logprobs"  # of the chosen token
    TOP_LOGPROBS = "top-logprobs"  # alternatives beside it
    SCORE = "score"  # log-probabilities of given tokens
    TOP_SCORE = "top-score"  # with alternatives at each of them
    JSON_SCHEMA = "json-schema"
    REGEX = "regex"
    GRAMMAR = "grammar"
    LOGIT_BIAS = "logit-bias"
    MIN_P = "min-p"
    PENALTIES = "penalties"  # presence, frequency, repetition
    IGNORE_EOS = "ignore-eos"
    BEAMS = "beams"
    ADAPTERS = "adapters"
    EMBED = "embed"
    CLASSIFY = "classify"
    TAG = "tag"
    FILL_MASK = "fill-mask"
    TEXT_ONLY = "text-only"  # takes text and messages instead of token ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter in PEFT layout, applied to one request."""

    name: str
    folder: Path
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One generation. `prompt` is for the decoder of a causal model, for the encoder of a seq2seq one.

    sampling.stop is applied above the engine (engine/session.py), on text; sampling.max_tokens is always set here.
    deadline: a time.monotonic() instant, or None. stream: False when nobody looks at an answer before its end, which then comes
    as one chunk: no work a token between processes and threads. priority: a Priority of the kernel. text, messages and tools are
    for TEXT_ONLY engines. cache_salt: an engine that keeps computed prefixes (PREFIX_CACHE) reuses them only for requests with the
    same one, so that neither `cached_tokens` nor the time to the first token tells a project what another one asked.
    """

    id: str
    prompt: TokenIds
    sampling: Sampling
    deadline: float | None = None
    stream: bool = True
    priority: str = "interactive"
    cache_salt: str = ""
    adapter: Adapter | None = None
    decoder_prompt: TokenIds = ()
    text: str | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one step of an engine produced for answer `index` of a request.

    token_ids hold no end-of-sequence token, unless ignore_eos. logprobs has one entry per token when asked for. finish_reason is set on the
    last chunk of an answer; cached_tokens on the first. text, tool_calls (each one whole) and usage (once, on the last chunk of
    the request) are set only by TEXT_ONLY engines.
    """

    index: int = 0
    token_ids: TokenIds = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    text: str | None = None
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """The chunks of one answer, in order, as one."""
    texts = [chunk.text for chunk in chunks if chunk.text is not None]
    return Chunk(
        index=chunks[0].index,
        token_ids=tuple(token for chunk in chunks for token in chunk.token_ids),
        logprobs=tuple(entry for chunk in chunks for entry in chunk.logprobs),
        text="".join(texts) if texts else None,
        finish_reason=chunks[-1].finish_reason,
        cached_tokens=max(chunk.cached_tokens for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
        usage=chunks[-1].usage,
    )


class Handle:
    """One running request, seen from both sides.

    The engine calls `push` for each chunk and ends with `close` (all n answers finished) or `fail`. The caller iterates, once,
    from a thread or an event loop, and may call `cancel` at any time: the engine frees the slot within one step and closes.
    Iteration raises what `fail` was given, and DeadlineExceeded (after cancelling) when `deadline` passes.
    """

    def __init__(self, request: Request, on_cancel: Callable[[], None] | None = None) -> None:
        self.request = request
        self.on_cancel = on_cancel
        self.cancelled = threading.Event()
        self._items: queue.SimpleQueue[Chunk | LLMOSError | None] = queue.SimpleQueue()
        self._kept: dict[int, list[Chunk]] = {}  # of answers that go out whole
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()

    # -- the engine's side -------------------------------------------------------------------------------------------
    def push(self, chunk: Chunk) -> None:
        if self.request.stream:
            self._put(chunk)
            return
        self._kept.setdefault(chunk.index, []).append(chunk)
        if chunk.finish_reason is not None:
            self._put(joined(self._kept.pop(chunk.index)))

    def close(self) -> None:
        for chunks in self._kept.values():
            self._put(joined(chunks))
        self._put(None)

    def fail(self, error: LLMOSError) -> None:
        self._put(error)

    def _put(self, item: Chunk | LLMOSError | None) -> None:
        self._items.put(item)
        with self._lock:
            wake = self._wake
        if wake:
            wake()

    # -- the caller's side -------------------------------------------------------------------------------------------
    def watch(self, wake: Callable[[], None]) -> None:
        """Instead of iterating: `wake` is called, from the engine's thread, after each item; fetch them with `take`. What came
        before is not announced, so take once after this call."""
        with self._lock:
            self._wake = wake

    def take(self) -> list[Chunk | LLMOSError | None]:
        """All items that have arrived, without waiting; None or an error is the last one."""
        items: list[Chunk | LLMOSError | None] = []
        while not self._items.empty():
            items.append(self._items.get_nowait())
        return items

    def cancel(self) -> None:
        """Idempotent, returns at once. Chunks already made may still arrive before the end."""
        if not self.cancelled.is_set():
            self.cancelled.set()
            if self.on_cancel:
                self.on_cancel()

    def _remaining_s(self) -> float | None:
        deadline = self.request.deadline
        return None if deadline is None else deadline - time.monotonic()

    def _expired(self) -> DeadlineExceeded:
        self.cancel()
        return DeadlineExceeded(
            "The deadline of the request has passed; it was cancelled.", hint="Ask for fewer tokens or more time."
        )

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            left = self._remaining_s()
            try:
                item = self._items.get(timeout=left if left is None else max(left, 0.0))
            except queue.Empty:
                raise self._expired() from None
            if item is None:
                return
            if isinstance(item, LLMOSError):
                raise item
            yield item

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        loop = asyncio.get_running_loop()
        ready, told = asyncio.Event(), False

        def wake() -> None:
            nonlocal told
            if not told and not loop.is_closed():  # once for all that came since the last look
                told = True
                loop.call_soon_threadsafe(ready.set)

        with self._lock:
            self._wake = wake
        left = self._remaining_s()
        alarm = None if left is None else loop.call_later(max(left, 0.0), ready.set)
        try:
            while True:
                told = False
                ready.clear()
                items = self.take()
                if not items:
                    if (left := self._remaining_s()) is not None and left <= 0:
                        raise self._expired()
                    await ready.wait()
                for item in items:
                    if item is None:
                        return
                    if isinstance(item, LLMOSError):
                        raise item
                    yield item
        finally:
            if alarm is not None:
                alarm.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreItem:
    """Log-probability of each continuation given the prompt. For seq2seq the prompt feeds the encoder."""

    prompt: TokenIds
    continuations: tuple[TokenIds, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """One list of TokenLogprob a continuation, in order, one entry a token."""

    continuations: tuple[tuple[TokenLogprob, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to load. num_threads: cores this engine may use. context_length: tokens per sequence. max_batch: sequences at once.
    kv_bytes: memory for the KV cache, None for the backend's own sizing. properties: the variant's own settings.
    cache_folder: where the backend may keep derived files (converted graphs), keyed by itself. share_prefixes: reuse what prompts
    have in common even where that may turn the last bits of a greedy answer; for batches, whose composition does that anyway.
    run_folder: of the locks by which processes take turns with the cores (kernel/compute.py), None: it computes when it likes."""

    num_threads: int
    context_length: int
    max_batch: int = 16
    kv_bytes: int | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    cache_folder: Path | None = None
    share_prefixes: bool = False
    run_folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a backend can be used on this machine. `install` is the command that would make it so."""

    ok: bool
    version: str = ""
    why: str = ""
    install: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to set a backend up, a candidate for the measured choice. why: what it trades."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Whether a backend runs a card, what it then offers, and in which variants (first: its default). prefixes_on_request: with
    LoadOptions.share_prefixes it has the feature PREFIX_CACHE too."""

    ok: bool
    why: str
    features: frozenset[Feature] = frozenset()
    variants: tuple[Variant, ...] = (Variant(name="default"),)
    prefixes_on_request: bool = False


class Engine(ABC):
    """One loaded model. `memory_bytes` is measured after the load. Methods that are not in `features` raise UnsupportedFeature."""

    backend: str
    variant: str
    card: ModelCard
    features: frozenset[Feature]
    memory_bytes: int
    load_s: float
    context_length: int

    @abstractmethod
    def submit(self, request: Request) -> Handle:
        """Starts a generation and returns at once. Errors of this request alone arrive through the handle."""

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        """Scores continuations. What prompts share is computed once: a common prefix of all items once a call, each prompt
        once an item. top > 0 adds that many alternatives at each place (TOP_SCORE)."""
        raise self._cannot(Feature.SCORE)

    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        """[N, D], pooled and normalised as the model's own configuration says."""
        raise self._cannot(Feature.EMBED)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`embed` of a TEXT_ONLY engine, whose tokens are not known here: [N, D]."""
        raise self._cannot(Feature.EMBED)

    def classify(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        """[N, L] logits of the classification head for (ids, type_ids)."""
        raise self._cannot(Feature.CLASSIFY)

    def tag(self, inputs: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
        """[T, L] logits for each input of T tokens."""
        raise self._cannot(Feature.TAG)

    def fill_mask(self, inputs: Sequence[TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """For each input [M, V] log-probabilities at its M mask tokens, normalised over the vocabulary; with candidates
        [M, len(candidates)], columns in that order."""
        raise self._cannot(Feature.FILL_MASK)

    def running(self) -> int:
        """Generations in flight."""
        return 0

    def measure(self) -> int:
        """`memory_bytes`, looked at again: caches grow with the work."""
        return self.memory_bytes

    @abstractmethod
    def close(self) -> None:
        """Cancels what runs, frees the memory. Idempotent."""

    def _cannot(self, feature: Feature) -> LLMOSError:
        from llmos.errors import UnsupportedFeature

        return UnsupportedFeature(f"The engine {self.backend} cannot do {feature.value} for {self.card.ref}.")


class Backend(ABC):
    """A kind of engine. Importing its module must not import the heavy library; `availability` finds it by metadata."""

    name: ClassVar[str]

    @abstractmethod
    def availability(self) -> Availability: ...

    @abstractmethod
    def supports(self, card: ModelCard) -> Support:
        """Decided from the card alone, without I/O."""

    @abstractmethod
    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        """Loads the files in `folder` (named as in card.files). Raises EngineError or ModelFileError."""


backends: Registry[Backend] = Registry("engine")
