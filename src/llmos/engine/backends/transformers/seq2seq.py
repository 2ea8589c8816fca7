"""T5- and Marian-type models: texts that wait together are read in one encoder pass and written in step from the same place.

Decoders of this type count positions from the start of the cache, so rows at different places cannot be joined; cohorts that
started at different times take turns.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from llmos.engine.backends.transformers import kv
from llmos.engine.backends.transformers.batching import padded
from llmos.engine.backends.transformers.cohort import Cohort, Started, Starter
from llmos.engine.backends.transformers.loading import config_ids
from llmos.engine.backends.transformers.rows import Job, Row
from llmos.engine.base import Request
from llmos.errors import ContextLengthExceeded, EngineError
from llmos.types import TokenIds


class Seq2SeqModel:
    """B rows, S source tokens, T target tokens, D width."""

    def __init__(self, model: Any) -> None:
        self.model = model
        start = config_ids(model, "decoder_start_token_id")
        if not start:
            raise EngineError(f"{type(model).__name__} does not say with which token its decoder starts.")
        self.opening: TokenIds = (start[0], *config_ids(model, "forced_bos_token_id")[:1])
        self.pad = (*config_ids(model, "pad_token_id"), 0)[0]

    def encode(self, sources: Sequence[TokenIds]) -> tuple[Tensor, Tensor]:
        """(vectors [B, S, D], mask [B, S])."""
        ids = torch.tensor(padded(sources, self.pad))
        mask = torch.tensor(padded([[1] * len(source) for source in sources], 0))
        return self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    def logits(self, ids_BT: Tensor, encoded: tuple[Tensor, Tensor], cache: EncoderDecoderCache | None) -> Tensor:
        """[B, T, V]."""
        logits: Tensor = self.model(
            decoder_input_ids=ids_BT,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded[0]),
            attention_mask=encoded[1],
            past_key_values=cache,
            use_cache=cache is not None,
        ).logits
        return logits


class Seq2SeqStarter(Starter):
    def __init__(self, model: Seq2SeqModel) -> None:
        self.seq2seq, self.model = model, model.model

    def opening(self, job: Job) -> TokenIds:
        """What the decoder starts from: the request's decoder_prompt as it is, or the model's start (and forced first) token."""
        return job.handle.request.decoder_prompt or self.seq2seq.opening

    def check_target(self, request: Request, max_tokens: int) -> None:
        """Decoders with a table of positions have an end; T5 has none."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        needed = len(request.decoder_prompt or self.seq2seq.opening) + max_tokens
        if limit is not None and needed > limit:
            raise ContextLengthExceeded(
                f"The answer may become {needed} tokens long with its start, the decoder has {limit} places.",
                param="max_tokens",
                hint="Ask for fewer tokens.",
            )

    def key(self, job: Job) -> Hashable:
        return len(self.opening(job))

    def start(self, jobs: Sequence[Job], rows: list[Row]) -> Generator[None, None, Started]:
        vectors, mask = self.seq2seq.encode([job.handle.request.prompt for job in jobs])
        yield
        repeat = torch.tensor([number for number, job in enumerate(jobs) for _ in range(job.handle.request.sampling.n)])
        encoded = (vectors.index_select(0, repeat), mask.index_select(0, repeat))
        cohort = Seq2SeqCohort(self.seq2seq, encoded, rows)
        return cohort, cohort.feed(torch.tensor([self.opening(row.job) for row in rows]))

    def num_tokens(self, job: Job) -> int:
        return len(job.handle.request.prompt) + len(self.opening(job)) + job.max_tokens


class Seq2SeqCohort(Cohort):
    def __init__(self, model: Seq2SeqModel, encoded: tuple[Tensor, Tensor], rows: list[Row]) -> None:
        self.model, self.encoded, self.rows = model, encoded, rows
        self.cache = EncoderDecoderCache(kv.new_cache(), kv.new_cache())

    def feed(self, ids_BT: Tensor) -> Tensor:
        return self.model.logits(ids_BT, self.encoded, self.cache)[:, -1]

    def step(self) -> Tensor:
        return self.feed(torch.tensor([[row.token] for row in self.rows]))

    def select(self, keep: Sequence[int]) -> None:
        index = torch.tensor(list(keep))
        self.encoded = (self.encoded[0].index_select(0, index), self.encoded[1].index_select(0, index))
        kv.select(self.cache.self_attention_cache, index)
        kv.select(self.cache.cross_attention_cache, index)
        self.rows = [self.rows[i] for i in keep]

    def absorb(self, other: Cohort) -> bool:
        return False
