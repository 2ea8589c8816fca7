"""A GGUF model run by llama.cpp: one thread owns the context and computes, all callers talk to it through a queue.

Each turn of the thread takes in what has arrived, admits waiting answers, computes one step for all that run (scheduler.plan)
and draws a token for every row whose logits came out. Scoring and embedding are jobs that run between two steps.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmos.engine.backends.llamacpp.context import Context
from llmos.engine.backends.llamacpp.grammar import LlamaGrammar
from llmos.engine.backends.llamacpp.sampling import Sampler
from llmos.engine.backends.llamacpp.scheduler import Piece, Row, Slots, plan
from llmos.engine.backends.llamacpp.scoring import Scorer
from llmos.engine.backends.native import token_logprob
from llmos.engine.base import Adapter, Chunk, Engine, Feature, Handle, Request, ScoreItem, ScoreResult
from llmos.engine.turns import Turns, called_as, most_urgent
from llmos.errors import ContextLengthExceeded, DeadlineExceeded, EngineError, LLMOSError, UnsupportedFeature
from llmos.library.base import ModelCard
from llmos.types import FinishReason, TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCORE_SLOTS = 18  # slots beside those of generation: a shared prefix, a prompt, 16 continuations at once
STEP_S = 0.2  # what a step should take while a prompt is computed, so that cancelling and new answers do not wait longer
MIN_PIECE = 32  # tokens of a step, however slow the machine
DECODING = 4  # a step of at most so many tokens shows what a step costs whatever is in it


@dataclass(slots=True, eq=False)
class Job:
    """Work on the context that is no generation. It advances by one `next` between two steps and fills `future` with a list of
    what it yielded. cells: of the cache, that it needs meanwhile. priority: of its caller."""

    work: Iterator[Any]
    cells: int
    priority: str = field(default_factory=called_as)
    future: Future[list[Any]] = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Answer:
    """One of the n answers of a request, while it waits and runs."""

    handle: Handle
    index: int
    row: Row
    sampler: Sampler


class LlamaCppEngine(Engine):
    """See the module's docstring. `context` is owned by the engine's thread from here on; close() frees it."""

    backend = "llamacpp"

    def __init__(
        self,
        card: ModelCard,
        context: Context,
        *,
        variant: str,
        features: frozenset[Feature],
        context_length: int,
        max_batch: int,
        turns: Turns,
    ) -> None:
        self.card, self.variant, self.features = card, variant, features
        self.context_length = context_length
        self.memory_bytes, self.load_s = 0, 0.0
        self._context, self._turns = context, turns
        self._slots = Slots(max_batch, context.options.num_cells)
        options = context.options
        self._scorer = Scorer(
            context, base=max_batch, num_slots=SCORE_SLOTS, batch_tokens=options.batch_tokens, num_cells=options.num_cells
        )
        self._inbox: queue.SimpleQueue[Handle | Job | None] = queue.SimpleQueue()  # None only wakes
        self._waiting: deque[Answer] = deque()
        self._jobs: deque[Job] = deque()  # the first one may be under way
        self._answers: dict[Row, Answer] = {}
        self._budget, self._fixed_s = context.options.batch_tokens, 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"llamacpp {card.name}", daemon=True)
        self._thread.start()

    # -- callers -----------------------------------------------------------------------------------------------------
    def submit(self, request: Request) -> Handle:
        if request.adapter:
            raise self._cannot(Feature.ADAPTERS)
        handle = Handle(request, on_cancel=lambda: self._inbox.put(None))
        self._send(handle)
        return handle

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        if adapter or Feature.SCORE not in self.features:
            raise self._cannot(Feature.ADAPTERS if adapter else Feature.SCORE)
        for item in items:
            self._check_length(len(item.prompt), max(map(len, item.continuations), default=0))
        return self._call(Job(self._scorer.score(items, top), self._scorer.cells_needed(items)))

    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        import numpy as np

        if Feature.EMBED not in self.features:
            raise self._cannot(Feature.EMBED)
        limit = min(self.context_length, self._context.options.batch_tokens)
        for ids in inputs:
            if not 0 < len(ids) <= limit:
                raise ContextLengthExceeded(f"An input has {len(ids)} tokens, the model takes 1 to {limit}.", param="input")
        vectors = self._call(Job(self._embed(inputs), limit))
        return np.stack(vectors) if vectors else np.zeros((0, self._context.embedding_dim), np.float32)

    def running(self) -> int:
        return len(self._answers) + len(self._waiting)

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._inbox.put(None)
            self._thread.join()
            self._turns.close()
            self._context.close()

    def _send(self, message: Handle | Job) -> None:
        if self._closed.is_set():
            raise self._was_closed()
        self._inbox.put(message)

    def _call(self, job: Job) -> list[Any]:
        self._send(job)
        return job.future.result()

    def _was_closed(self) -> EngineError:
        return EngineError(f"The engine llamacpp of {self.card.ref} was closed.")

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
            if self._jobs:
                waiting = {job.priority for job in self._jobs}
                with self._turns.call(most_urgent(waiting), stop=lambda: not self._inbox.empty()):
                    self._work()
            if self._answers:
                self._step()
        self._take_in()
        for answer in [*self._answers.values(), *self._waiting]:
            answer.sampler.close()
            answer.handle.fail(self._was_closed())
        for job in self._jobs:
            job.future.set_exception(self._was_closed())

    def _take_in(self) -> None:
        """Reads the inbox; waits for a message only when there is nothing to compute."""
        idle = not (self._answers or self._waiting or self._jobs or self._closed.is_set())
        if idle:
            self._turns.rest()
        while idle or not self._inbox.empty():
            message = self._inbox.get()
            idle = False
            if isinstance(message, Handle):
                self._accept(message)
            elif message is not None:
                self._jobs.append(message)

    def _accept(self, handle: Handle) -> None:
        request = handle.request
        sampling, made = request.sampling, list[Answer]()
        try:
            assert sampling.max_tokens is not None, "the session sets max_tokens"
            self._check_length(len(request.prompt), sampling.max_tokens)
            for index in range(sampling.n):
                exact = sampling.temperature <= 0 or sampling.seed is not None
                row = Row(request.prompt, sampling.max_tokens, exact=exact, salt=request.cache_salt)
                made.append(Answer(handle, index, row, self._sampler(request, index)))
        except LLMOSError as problem:
            for answer in made:
                answer.sampler.close()
            handle.fail(problem)
            return
        self._waiting.extend(made)

    def _sampler(self, request: Request, index: int) -> Sampler:
        sampling = request.sampling
        if sampling.num_beams > 1:
            raise UnsupportedFeature("The engine llamacpp cannot do beams.", param="num_beams")
        grammar = None
        if sampling.constraint:
            grammar = LlamaGrammar(sampling.constraint, vocab=self._context.vocab, vocab_size=self._context.vocab_size)
        return Sampler(sampling, prompt=request.prompt, index=index, grammar=grammar)

    def _drop_cancelled(self) -> None:
        for answer in [*self._answers.values(), *self._waiting]:
            deadline = answer.handle.request.deadline
            if answer.handle.cancelled.is_set():
                self._end(answer, "cancelled")
            elif deadline is not None and time.monotonic() > deadline:
                self._end(answer, DeadlineExceeded("The deadline of the request has passed; it was cancelled."))

    def _admit(self) -> None:
        """Waiting answers start in order. A sibling waits until the first answer's prompt is there to be shared. A job that
        waits for cells goes before new answers."""
        while self._waiting and (self._slots.reserved or not self._jobs):
            answer = self._waiting[0]
            siblings = (one.row for one in self._answers.values() if one.handle is answer.handle)
            if any(row.in_prompt for row in siblings):
                return
            admission = self._slots.admit(answer.row)
            if admission is None:
                return
            self._waiting.popleft()
            self._answers[answer.row] = answer
            for slot in admission.evict:
                self._context.clear(slot)
            kept = (
                self._context.cut(admission.slot, admission.length)
                if admission.source == admission.slot
                else self._context.share(admission.source, admission.slot, admission.length)
            )
            if not kept:
                answer.row.computed = answer.row.reused = 0

    def _step(self) -> None:
        pieces = plan(self._answers, budget=self._budget)
        tokens, positions, slots, wanted = list[int](), list[int](), list[int](), list[bool]()
        for piece in pieces:
            row, begin = piece.row, piece.row.computed
            tokens += row.tokens[begin : begin + piece.count]
            positions += range(begin, begin + piece.count)
            slots += [row.slot] * piece.count
            wanted += [False] * (piece.count - 1) + [piece.last]
        requests = [answer.handle.request for answer in (*self._answers.values(), *self._waiting)]
        try:
            with self._turns.step(requests, stop=lambda: not self._inbox.empty()):
                started = time.monotonic()
                self._context.decode(tokens, positions, slots, wanted)
        except EngineError as problem:
            for piece in pieces:
                self._end(self._answers[piece.row], problem)
            return
        self._draw(pieces)
        self._adapt(len(tokens), time.monotonic() - started)

    def _draw(self, pieces: list[Piece]) -> None:
        end = -1
        for piece in pieces:
            end += piece.count
            piece.row.computed += piece.count
            if piece.last:
                self._advance(self._answers[piece.row], end)

    def _advance(self, answer: Answer, place: int) -> None:
        """Draws the next token of an answer from the logits at `place` of the step."""
        row, logits = answer.row, self._context.logits(place)
        first = len(row.tokens) == len(row.prompt)
        cached = row.reused if first else 0
        if row.max_tokens == 0:
            self._end(answer, "length", cached=cached)
            return
        token = answer.sampler.next(logits)
        sampling = answer.handle.request.sampling
        if self._context.is_end(token) and not (sampling.ignore_eos and sampling.constraint is None):
            self._end(answer, "stop", cached=cached)
            return
        top = sampling.logprobs
        logprobs = () if top is None else (token_logprob(logits, token, top),)
        answer.sampler.accept(token)
        row.tokens.append(token)
        chunk = Chunk(index=answer.index, token_ids=(token,), logprobs=logprobs, cached_tokens=cached)
        if len(row.tokens) == row.cells:
            self._end(answer, "length", chunk)
        else:
            answer.handle.push(chunk)

    def _adapt(self, num_tokens: int, took_s: float) -> None:
        """Sets how many tokens the next step may compute. Every step has a fixed cost, large when other processes want the
        cores: it may not exceed a quarter of a full step, or prompts would take for ever."""
        if num_tokens <= DECODING:
            self._fixed_s = took_s
        elif num_tokens >= MIN_PIECE:
            each_s = max(took_s - self._fixed_s, 1e-6) / num_tokens
            fitting = int(max(STEP_S, 4 * self._fixed_s) / each_s)
            self._budget = min(max(fitting, MIN_PIECE, len(self._answers)), self._context.options.batch_tokens)

    def _end(self, answer: Answer, how: FinishReason | LLMOSError, last: Chunk | None = None, *, cached: int = 0) -> None:
        """Ends one answer, and its request with the last of them."""
        answer.sampler.close()
        if answer.row in self._answers:
            del self._answers[answer.row]
            self._slots.finish(answer.row)
        else:
            self._waiting.remove(answer)
        handle = answer.handle
        if isinstance(how, LLMOSError):
            handle.fail(how)
            return
        ids, logprobs = (last.token_ids, last.logprobs) if last else ((), ())
        cached = last.cached_tokens if last else cached
        handle.push(Chunk(index=answer.index, token_ids=ids, logprobs=logprobs, finish_reason=how, cached_tokens=cached))
        if not any(one.handle is handle for one in [*self._answers.values(), *self._waiting]):
            handle.close()

    def _work(self) -> None:
        """Takes the first job one piece further, once its cells are free."""
        job = self._jobs[0]
        if not self._slots.reserved:
            dropped = self._slots.reserve(max(job.cells, 1))
            if dropped is None:
                return
            for slot in dropped:
                self._context.clear(slot)
        try:
            job.results.append(next(job.work))
            return
        except StopIteration:
            job.future.set_result(job.results)
        except Exception as problem:  # noqa: BLE001 - it belongs to the caller's thread
            job.future.set_exception(problem)
        self._slots.reserved = 0
        self._jobs.popleft()

    def _embed(self, inputs: Sequence[TokenIds]) -> Iterator[NDArray[np.float32]]:
        """[D] for each input, of length 1."""
        import numpy as np

        for ids in inputs:
            self._context.clear(0)
            self._context.decode(ids, range(len(ids)), [0] * len(ids), [True] * len(ids))
            vector = self._context.pooled(0)
            yield vector / max(float(np.linalg.norm(vector)), 1e-12)
        self._context.clear(0)
