"""The engine of models that write, causal and seq2seq: submit through the step loop, score by shared prefixes."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from llmos.engine.backends.transformers import beams, kv, scoring
from llmos.engine.backends.transformers.adapters import Adapters
from llmos.engine.backends.transformers.causal import CausalModel, CausalStarter
from llmos.engine.backends.transformers.cohort import Starter
from llmos.engine.backends.transformers.constraints import Constraints
from llmos.engine.backends.transformers.loading import config_ids
from llmos.engine.backends.transformers.loop import StepLoop
from llmos.engine.backends.transformers.rows import Job, Row
from llmos.engine.backends.transformers.seq2seq import Seq2SeqModel, Seq2SeqStarter
from llmos.engine.backends.transformers.thread import ModelThread, tensor_bytes
from llmos.engine.base import Adapter, Engine, Feature, Handle, LoadOptions, Request, ScoreItem, ScoreResult
from llmos.engine.needs import needed_features
from llmos.engine.turns import Turns
from llmos.errors import ContextLengthExceeded, EngineError, InvalidValue, LLMOSError, OverCapacity, UnsupportedFeature
from llmos.library.base import ModelCard
from llmos.text.load import load_tokenizer
from llmos.types import Family, TokenIds


class GeneratorEngine(Engine):
    """One loaded causal or seq2seq model."""

    backend = "transformers"

    def __init__(
        self, card: ModelCard, folder: Path, model: Any, *, variant: str, features: frozenset[Feature], options: LoadOptions
    ) -> None:
        self.card, self.variant, self.features = card, variant, features
        self.context_length, self._options = options.context_length, options
        self.memory_bytes, self.load_s = tensor_bytes(model), 0.0
        self._model, self._folder = model, folder
        self._kind: CausalModel | Seq2SeqModel = CausalModel(model) if card.family == Family.CAUSAL else Seq2SeqModel(model)
        self._starter: Starter = CausalStarter(self._kind) if isinstance(self._kind, CausalModel) else Seq2SeqStarter(self._kind)
        self._eos = tuple(dict.fromkeys((*self._tokenizer.special.eos, *config_ids(model, "eos_token_id"))))
        self._banned = tuple(ids[0] for ids in model.generation_config.bad_words_ids or () if len(ids) == 1)
        self._num_logits = int(model.get_output_embeddings().weight.shape[0])
        self._token_bytes = kv.bytes_per_token(model.config, model.dtype)
        self._adapters = Adapters(model)
        self._closed = False
        self._loop = StepLoop(
            self._starter,
            self._rows,
            self._search,
            self._adapters.activate,
            max_rows=options.max_batch,
            max_tokens=None if options.kv_bytes is None else options.kv_bytes // self._token_bytes,
        )
        turns = Turns(options.run_folder)
        self._thread = ModelThread(f"transformers {card.name}", options.num_threads, turns, self._loop.step, self._loop.requests)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._folder)

    @cached_property
    def _constraints(self) -> Constraints:
        return Constraints(self._tokenizer, self._eos, self._num_logits)

    # -- generating --------------------------------------------------------------------------------------------------
    def submit(self, request: Request) -> Handle:
        self._check_open()
        handle = Handle(request, on_cancel=self._thread.wake)
        try:
            job = Job(handle, self._checked(request))
        except LLMOSError as problem:
            handle.fail(problem)
            return handle
        self._loop.submit(job)
        self._thread.wake()
        return handle

    def running(self) -> int:
        return 0 if self._closed else self._loop.running()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(EngineError):
                self._thread.call(self._loop.stop)
            self._thread.close()
            del self._model, self._kind, self._starter, self._adapters, self._loop  # whoever keeps this object keeps no weights

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("The engine is closed.", hint="Load the model again.")

    def _checked(self, request: Request) -> int:
        """max_tokens, when the request can be served. Raises what is wrong with it."""
        sampling = request.sampling
        lacking = needed_features(sampling, adapter=request.adapter is not None) - self.features
        if lacking:
            raise UnsupportedFeature(f"This engine cannot do {', '.join(sorted(lacking))} for {self.card.ref}.")
        if sampling.max_tokens is None or sampling.max_tokens < 1:
            raise InvalidValue(f"max_tokens must be at least 1, not {sampling.max_tokens}.", param="max_tokens")
        for param, ids in (("prompt", request.prompt), ("logit_bias", sampling.logit_bias)):
            outside = [token for token in ids if not 0 <= token < self._num_logits]
            if outside:
                raise InvalidValue(f"The token id {outside[0]} is outside the vocabulary of {self._num_logits}.", param=param)
        if sampling.num_beams > 1:
            beams.check(sampling)
        self._check_length(request, sampling.max_tokens)
        job = Job(Handle(request), sampling.max_tokens)
        if job.num_rows > self._options.max_batch:
            raise InvalidValue(
                f"{job.num_rows} sequences (answers or beams) exceed the {self._options.max_batch} of this engine.", param="n"
            )
        need = job.num_rows * self._starter.num_tokens(job) * self._token_bytes
        if self._options.kv_bytes is not None and need > self._options.kv_bytes:
            raise OverCapacity(
                f"The request needs {need} bytes of KV cache, the engine has {self._options.kv_bytes}.", param="max_tokens"
            )
        return sampling.max_tokens

    def _check_length(self, request: Request, max_tokens: int) -> None:
        prompt = len(request.prompt)
        if not prompt:
            raise InvalidValue("The prompt holds no tokens.", param="prompt")
        needed = prompt + max_tokens if isinstance(self._kind, CausalModel) else prompt
        if isinstance(self._starter, Seq2SeqStarter):
            self._starter.check_target(request, max_tokens)
        if needed > self.context_length:
            raise ContextLengthExceeded(
                f"The prompt has {prompt} tokens and up to {max_tokens} are asked for; the context has {self.context_length}.",
                param="prompt",
                hint="Shorten the prompt or ask for fewer tokens.",
            )

    def _rows(self, job: Job) -> list[Row]:
        """On the model's thread: the answers of a job, each with its own state of the constraint."""
        sampling, prompt = job.handle.request.sampling, torch.tensor(job.handle.request.prompt)
        constraint = sampling.constraint
        return [
            Row(
                job=job,
                index=index,
                sampling=sampling,
                eos=self._eos,
                prompt=prompt,
                banned=self._banned,
                matcher=self._constraints.matcher(constraint) if constraint else None,
            )
            for index in range(sampling.n)
        ]

    def _search(self, job: Job) -> None:
        opening = self._starter.opening(job) if isinstance(self._starter, Seq2SeqStarter) else ()
        pad = (*config_ids(self._model, "pad_token_id"), self._eos[0])[0]
        beams.search(self._model, job, opening, self._eos, pad)

    # -- scoring -----------------------------------------------------------------------------------------------------
    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        self._check_open()
        for number, item in enumerate(items):
            longest = max(map(len, item.continuations), default=0)
            longest += len(item.prompt) if isinstance(self._kind, CausalModel) else 0
            if not item.prompt:
                raise InvalidValue(f"The prompt of item {number} holds no tokens.", param="items")
            if max(longest, len(item.prompt)) > self.context_length:
                raise ContextLengthExceeded(
                    f"Item {number} has {longest} tokens, the context {self.context_length}.", param="items"
                )
        steps = self._score(items, top)

        def advance() -> list[ScoreResult] | None:
            self._adapters.activate(adapter)
            try:
                next(steps)
            except StopIteration as end:
                results: list[ScoreResult] = end.value
                return results
            return None

        while (found := self._thread.call(advance)) is None:
            pass  # between two passes of scoring the running generations make their step
        return found

    def _score(self, items: Sequence[ScoreItem], top: int) -> Generator[None, None, list[ScoreResult]]:
        if not items:
            return []
        reader: scoring.CausalReader | scoring.Seq2SeqReader
        shared: TokenIds = ()
        if isinstance(self._kind, CausalModel):
            shared, reader = scoring.shared_prefix(items), scoring.CausalReader(self._kind)
            yield from reader.share(shared)
        else:
            reader = scoring.Seq2SeqReader(self._kind)
        columns = max(1, scoring.KV_BYTES // self._token_bytes)
        return (yield from scoring.score(reader, items, len(shared), top=top, max_columns=columns, num_logits=self._num_logits))


def load_generator(
    card: ModelCard, folder: Path, model: Any, *, variant: str, features: frozenset[Feature], options: LoadOptions
) -> Engine:
    return GeneratorEngine(card, folder, model, variant=variant, features=features, options=options)
