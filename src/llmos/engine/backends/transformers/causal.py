"""GPT-type models: prompts are read alone and in pieces, then their rows join the running batch, padded on the left."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from llmos.engine.backends.transformers import kv
from llmos.engine.backends.transformers.cohort import Cohort, Started, Starter
from llmos.engine.backends.transformers.rows import Job, Row
from llmos.errors import EngineError

PIECE = 512  # prompt tokens a pass: running answers wait no longer than that, and a cancel is seen as soon
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention"}


class CausalModel:
    """Calls a transformers model with what its `forward` takes. T tokens in, P tokens in the cache, B rows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or [])
        self.has_window = bool(getattr(config, "sliding_window", None)) or bool(kinds - {"full_attention", "attention"})
        self._takes = set(inspect.signature(model.forward).parameters)
        others = sorted(kinds - _ATTENTION)
        if others or "past_key_values" not in self._takes:
            raise EngineError(
                f"{type(model).__name__} keeps a state that is no KV cache ({', '.join(others) or 'its own'}); "
                "this engine cannot batch it."
            )

    def logits(
        self, ids_BT: Tensor, positions_BT: Tensor, cache: Cache, mask_BP: Tensor | None = None, *, last: bool = True
    ) -> Tensor:
        """[B, V] of the last token, or [B, T, V]. mask_BP: bool over the P + T columns, None when nothing is padding."""
        given: dict[str, Any] = {"input_ids": ids_BT, "past_key_values": cache, "use_cache": True, "attention_mask": mask_BP}
        if "position_ids" in self._takes:
            given["position_ids"] = positions_BT
        if last and "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        logits: Tensor = self.model(**given).logits
        return logits[:, -1] if last else logits

    def read(self, ids: Sequence[int], cache: Cache, *, past: int = 0) -> Generator[None, None, Tensor]:
        """Feeds ids to a cache of one row that holds `past` tokens; yields between pieces; returns the logits [V] of the last."""
        logits: Tensor | None = None
        for begin in range(0, len(ids), PIECE):
            if begin:
                yield
            piece = torch.tensor([ids[begin : begin + PIECE]])
            positions = torch.arange(past + begin, past + begin + piece.shape[1])[None]
            logits = self.logits(piece, positions, cache)[0]
        assert logits is not None, "an empty prompt has no last token"
        return logits


class CausalStarter(Starter):
    def __init__(self, model: CausalModel) -> None:
        self.causal, self.model = model, model.model

    def key(self, job: Job) -> Hashable:
        return id(job)  # each alone: the first token of one does not wait for the prompt of another

    def start(self, jobs: Sequence[Job], rows: list[Row]) -> Generator[None, None, Started]:
        (job,) = jobs
        prompt, cache = job.handle.request.prompt, kv.new_cache()
        logits_V = yield from self.causal.read(prompt, cache)
        if len(rows) > 1:
            kv.select(cache, [0] * len(rows))
        return CausalCohort(self.causal, cache, rows, [len(prompt)] * len(rows)), logits_V.expand(len(rows), -1)

    def num_tokens(self, job: Job) -> int:
        return len(job.handle.request.prompt) + job.max_tokens


class CausalCohort(Cohort):
    """lengths: tokens of each row in the cache, which is as wide as the longest; the rest on the left is padding."""

    def __init__(self, model: CausalModel, cache: Cache, rows: list[Row], lengths: list[int]) -> None:
        self.model, self.cache, self.rows, self.lengths = model, cache, rows, lengths
        self.adapter = rows[0].job.adapter

    def step(self) -> Tensor:
        width = self.cache.get_seq_length() + 1
        lengths = torch.tensor(self.lengths)[:, None]
        mask = None if min(self.lengths) + 1 == width else torch.arange(width)[None] >= width - 1 - lengths
        logits = self.model.logits(torch.tensor([[row.token] for row in self.rows]), lengths, self.cache, mask)
        self.lengths = [length + 1 for length in self.lengths]
        return logits

    def select(self, keep: Sequence[int]) -> None:
        width = self.cache.get_seq_length()
        kv.select(self.cache, list(keep))
        self.rows = [self.rows[i] for i in keep]
        self.lengths = [self.lengths[i] for i in keep]
        if max(self.lengths) < width:
            kv.drop_left(self.cache, width - max(self.lengths))

    def absorb(self, other: Cohort) -> bool:
        if not isinstance(other, CausalCohort) or other.adapter != self.adapter:
            return False
        kv.join(self.cache, other.cache)
        self.rows += other.rows
        self.lengths += other.lengths
        return True
