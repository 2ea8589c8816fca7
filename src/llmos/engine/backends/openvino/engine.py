"""A model run by OpenVINO GenAI's continuous batching, driven step by step by one thread.

Known from trying it: `step` holds Python's lock while it computes, so steps are kept short (backend.STEP_TOKENS). A constraint
that does not compile spoils the step for all, so constraints are checked first (constraints.py). A request larger than the cache
waits for ever, so `submit` refuses it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.engine.backends.openvino.constraints import ConstraintCheck, last_line
from llmos.engine.backends.openvino.request import generation_config
from llmos.engine.base import Adapter, Chunk, Engine, Feature, Handle, Request, ScoreItem, ScoreResult
from llmos.engine.turns import Turns
from llmos.errors import ContextLengthExceeded, DeadlineExceeded, EngineError, LLMOSError, OverCapacity
from llmos.library.base import ModelCard
from llmos.types import FinishReason, TokenLogprob

if TYPE_CHECKING:
    from llmos.engine.backends.openvino.scoring import Scorer

GATHER_S = 0.005  # that an idle engine waits for more requests at most,
SILENCE_S = 0.001  # and the silence after which it begins
_NUMBERS = count()  # request ids of OpenVINO GenAI


@dataclass(slots=True, eq=False)
class Answer:
    """One of the n answers of a request. `generation` is OpenVINO GenAI's handle, None while the answer waits."""

    handle: Handle
    index: int
    generation: Any = None


@dataclass(kw_only=True)
class Settings:
    """What the engine is told by its backend. folder: with the graph; ends: ids that end an answer; properties: of the device;
    run_folder: as in LoadOptions."""

    folder: Path
    ends: tuple[int, ...]
    properties: dict[str, Any] = field(default_factory=dict)
    variant: str
    features: frozenset[Feature]
    context_length: int
    run_folder: Path | None = None


class OpenVINOEngine(Engine):
    """See the module's docstring. `pipeline`: an openvino_genai.ContinuousBatchingPipeline, owned from here on."""

    backend = "openvino"

    def __init__(self, card: ModelCard, pipeline: Any, settings: Settings) -> None:
        self.card, self._settings = card, settings
        self.variant, self.features, self.context_length = settings.variant, settings.features, settings.context_length
        self.memory_bytes, self.load_s = 0, 0.0
        self._pipeline: Any = pipeline
        self._turns = Turns(settings.run_folder)
        self.scratch: Any = None  # keeps a temporary folder alive
        self._constraints = ConstraintCheck(pipeline.get_tokenizer())
        self._scorer: Scorer | None = None
        self._scoring = threading.Lock()
        self._inbox: queue.SimpleQueue[Handle | None] = queue.SimpleQueue()  # None only wakes
        self._waiting: deque[Answer] = deque()
        self._running: list[Answer] = []
        self._left = False  # a cancelled generation still holds blocks of the cache
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"openvino {card.name}", daemon=True)
        self._thread.start()

    # -- callers -----------------------------------------------------------------------------------------------------
    def submit(self, request: Request) -> Handle:
        if request.adapter:
            raise self._cannot(Feature.ADAPTERS)
        if self._closed.is_set():
            raise self._was_closed()
        handle = Handle(request, on_cancel=lambda: self._inbox.put(None))
        self._inbox.put(handle)
        return handle

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        from llmos.engine.backends.openvino.scoring import Scorer

        if adapter or Feature.SCORE not in self.features:
            raise self._cannot(Feature.ADAPTERS if adapter else Feature.SCORE)
        for item in items:
            self._check_length(len(item.prompt), max(map(len, item.continuations), default=0))
        with self._scoring:
            if self._closed.is_set():
                raise self._was_closed()
            if self._scorer is None:
                self._scorer = Scorer(self._settings.folder, self._settings.properties, self._turns)
                self.memory_bytes += self._scorer.memory_bytes
            return self._scorer.score(items, top)

    def running(self) -> int:
        return len(self._running) + len(self._waiting)

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._inbox.put(None)
            self._thread.join()
            with self._scoring:
                self._scorer = None
                self._turns.close()

    def _was_closed(self) -> EngineError:
        return EngineError(f"The engine openvino of {self.card.ref} was closed.")

    def _check_length(self, prompt: int, answer: int) -> None:
        if prompt < 1 or prompt + answer > self.context_length:
            raise ContextLengthExceeded(
                f"A prompt of {prompt} tokens and {answer} more do not fit the context of {self.context_length} tokens.",
                param="max_tokens",
                hint="Shorten the prompt, ask for fewer tokens, or load the model with a longer context.",
            )

    # -- the engine's thread -----------------------------------------------------------------------------------------
    def _run(self) -> None:
        while not self._closed.is_set():
            self._take_in()
            self._drop_cancelled()
            self._admit()
            if self._running or self._left:
                self._step()
        self._take_in()
        for handle in {answer.handle for answer in [*self._running, *self._waiting]}:
            self._end_request(handle, self._was_closed())
        if self._left:
            self._step()
        self._pipeline = None

    def _take_in(self) -> None:
        """Reads the inbox; waits for a message only when there is nothing to compute."""
        if not (self._running or self._waiting or self._closed.is_set()):
            self._turns.rest()
            self._receive(self._inbox.get())
            end = time.monotonic() + GATHER_S
            with contextlib.suppress(queue.Empty):  # what comes together is read together
                while (left := end - time.monotonic()) > 0:
                    self._receive(self._inbox.get(timeout=min(left, SILENCE_S)))
        while not self._inbox.empty():
            self._receive(self._inbox.get())

    def _receive(self, handle: Handle | None) -> None:
        if handle is not None:
            self._accept(handle)

    def _accept(self, handle: Handle) -> None:
        sampling = handle.request.sampling
        assert sampling.max_tokens is not None, "the session sets max_tokens"
        try:
            self._check_length(len(handle.request.prompt), sampling.max_tokens)
        except LLMOSError as problem:
            handle.fail(problem)
            return
        answers = [Answer(handle, index) for index in range(sampling.n)]
        self._waiting.extend(answers)
        if sampling.max_tokens == 0:
            for answer in answers:
                self._end(answer, "length")

    def _drop_cancelled(self) -> None:
        for answer in [*self._running, *self._waiting]:
            deadline = answer.handle.request.deadline
            if answer.handle.cancelled.is_set():
                while answer.generation is not None and answer.generation.can_read():  # kept back for an end that does not come
                    for output in answer.generation.read().values():
                        self._pass_on(answer, output)
                self._end(answer, "cancelled")
            elif deadline is not None and time.monotonic() > deadline:
                self._end(answer, DeadlineExceeded("The deadline of the request has passed; it was cancelled."))

    def _admit(self) -> None:
        while self._waiting:
            self._hand_over(self._waiting[0])

    def _hand_over(self, answer: Answer) -> None:
        import numpy as np
        import openvino as ov

        request = answer.handle.request
        ids = ov.Tensor(np.array([request.prompt], np.int64))
        try:
            config = generation_config(request, answer.index, self._settings.ends)
            if request.sampling.constraint and answer.index == 0:
                self._constraints.check(request.sampling.constraint, config)
            answer.generation = self._pipeline.add_request(next(_NUMBERS), ids, config)
        except LLMOSError as problem:
            self._end_request(answer.handle, problem)
            return
        except Exception as problem:  # noqa: BLE001 - whatever the library throws belongs to this request
            self._end_request(answer.handle, EngineError(f"OpenVINO GenAI refused the request: {last_line(problem)}"))
            return
        self._waiting.remove(answer)
        self._running.append(answer)

    def _step(self) -> None:
        self._left = False
        requests = [answer.handle.request for answer in (*self._running, *self._waiting)]
        try:
            with self._turns.step(requests, stop=lambda: not self._inbox.empty()):
                self._pipeline.step()
        except Exception as problem:  # noqa: BLE001 - the library throws RuntimeError for everything
            for answer in list(self._running):
                self._end_request(answer.handle, EngineError(f"OpenVINO GenAI failed: {last_line(problem)}"))
            return
        for answer in list(self._running):
            self._collect(answer)

    def _collect(self, answer: Answer) -> None:
        """Passes on what the step gave an answer. One that nobody watches is left with the library until its end."""
        generation = answer.generation
        if not answer.handle.request.stream:
            if generation.get_status().name == "RUNNING":
                return
            outputs = generation.read_all()
        else:
            outputs = generation.read().values() if generation.can_read() else ()
        for output in outputs:
            self._pass_on(answer, output)
        if outputs or (status := generation.get_status().name) == "RUNNING":
            return
        if status == "IGNORED":
            self._end(answer, OverCapacity("The key-value cache has no room for this request.", retry_after_s=1.0))
        else:
            self._end(answer, EngineError(f"OpenVINO GenAI ended the request without an answer ({status})."))

    def _pass_on(self, answer: Answer, output: Any) -> None:
        ids, reason = [int(one) for one in output.generated_ids], output.finish_reason.name
        logprobs = [float(one) for one in output.generated_log_probs]
        if reason == "STOP" and ids and ids[-1] in self._settings.ends:
            ids, logprobs = ids[:-1], logprobs[: len(ids) - 1]
        wanted = answer.handle.request.sampling.logprobs is not None
        pairs = tuple(TokenLogprob(*pair) for pair in zip(ids, logprobs, strict=True)) if wanted else ()
        if reason == "NONE":
            answer.handle.push(Chunk(index=answer.index, token_ids=tuple(ids), logprobs=pairs))
        else:
            how: FinishReason = "length" if reason == "LENGTH" else "stop"
            self._end(answer, how, Chunk(index=answer.index, token_ids=tuple(ids), logprobs=pairs, finish_reason=how))

    def _end_request(self, handle: Handle, problem: LLMOSError) -> None:
        """Ends all answers of a request with one error."""
        for answer in [one for one in [*self._running, *self._waiting] if one.handle is handle]:
            self._remove(answer)
        handle.fail(problem)

    def _end(self, answer: Answer, how: FinishReason | LLMOSError, last: Chunk | None = None) -> None:
        """Ends one answer, and its request with the last of them."""
        if isinstance(how, LLMOSError):
            self._end_request(answer.handle, how)
            return
        self._remove(answer)
        answer.handle.push(last or Chunk(index=answer.index, finish_reason=how))
        if not any(one.handle is answer.handle for one in [*self._running, *self._waiting]):
            answer.handle.close()

    def _remove(self, answer: Answer) -> None:
        if answer in self._running:
            self._running.remove(answer)
            answer.generation.cancel()
            self._left = True  # its blocks of the cache are free after the next step
        elif answer in self._waiting:
            self._waiting.remove(answer)
