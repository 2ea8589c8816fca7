"""Log-probabilities of given continuations, with everything that is shared computed once.

call    the prefix that all prompts share is read once                (causal; an encoder cannot share)
item    the rest of a prompt is read once, items of similar length together; its last place scores every first token
row     each continuation is fed after a copy of its item's cache, several rows a pass, padded on the right
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, EncoderDecoderCache

from llmos.engine.backends.transformers import kv
from llmos.engine.backends.transformers.batching import by_length, common_prefix, padded
from llmos.engine.backends.transformers.causal import PIECE, CausalModel
from llmos.engine.backends.transformers.loading import gathered
from llmos.engine.backends.transformers.sampling import logprobs
from llmos.engine.backends.transformers.seq2seq import Seq2SeqModel
from llmos.engine.base import ScoreItem, ScoreResult
from llmos.types import TokenIds, TokenLogprob

# B rows, T new columns, P columns of cache, N places, V vocabulary.
KV_BYTES = 512 * 2**20  # of the copies of caches in one pass
LOGIT_BYTES = 128 * 2**20  # of the logits of one pass, float32


class Reader(ABC):
    """A kind of model, as scoring sees it. `past` of an opened group: what `extend` continues from.

    equal: prompts of a group must have one length, because columns of padding before a continuation would count."""

    equal = False

    @abstractmethod
    def open(self, prompts: Sequence[TokenIds]) -> tuple[Any, Tensor]:
        """(past of a row a prompt, logits [B, V] of the first token after it)."""

    @abstractmethod
    def rows(self, past: Any, index: list[int]) -> Any:
        """A new past with these rows; the old one stays."""

    @abstractmethod
    def extend(self, past: Any, ids_BT: Tensor, places_BT: Tensor) -> Tensor:
        """Feeds columns (padding where places is False) and returns logits [N, V] of the others, row by row. Changes past."""


def score(
    reader: Reader, items: Sequence[ScoreItem], skip: int, *, top: int, max_columns: int, num_logits: int
) -> Generator[None, None, list[ScoreResult]]:
    """Scores items whose first `skip` tokens the reader has already read; gives way (yield) between passes."""
    found: dict[tuple[int, int], list[TokenLogprob]] = {}
    rests = [item.prompt[skip:] for item in items]
    for group in by_length([len(rest) for rest in rests], max(max_columns - skip, 1), equal=reader.equal):
        past, first_BV = reader.open([rests[number] for number in group])
        yield
        for place, number in enumerate(group):
            for which, continuation in enumerate(items[number].continuations):
                found[number, which] = logprobs(first_BV[place][None], torch.tensor(continuation[:1]), top) if continuation else []
        waiting = [
            (place, which)
            for place, number in enumerate(group)
            for which, continuation in enumerate(items[number].continuations)
            if len(continuation) > 1
        ]
        longest = skip + max(len(rests[number]) for number in group)
        lengths = [longest + len(items[group[place]].continuations[which]) for place, which in waiting]
        for some in by_length(lengths, max_columns):
            chosen = [waiting[i] for i in some]
            texts = [items[group[place]].continuations[which] for place, which in chosen]
            scored = _continue(reader, reader.rows(past, [place for place, _ in chosen]), texts, top, num_logits)
            for (place, which), entries in zip(chosen, scored, strict=True):
                found[group[place], which] += entries
            yield
    return [
        ScoreResult(continuations=tuple(tuple(found[number, which]) for which in range(len(item.continuations))))
        for number, item in enumerate(items)
    ]


def _continue(reader: Reader, past: Any, texts: list[TokenIds], top: int, num_logits: int) -> list[list[TokenLogprob]]:
    """Scores all but the first token of each text: feeding token i gives the logits of token i + 1."""
    scored: list[list[TokenLogprob]] = [[] for _ in texts]
    fed = torch.tensor(padded([text[:-1] for text in texts], 0))
    wanted = torch.tensor(padded([text[1:] for text in texts], 0))
    real = torch.tensor(padded([[1] * (len(text) - 1) for text in texts], 0)).bool()
    step = max(1, min(PIECE, LOGIT_BYTES // (4 * num_logits * len(texts))))
    for begin in range(0, fed.shape[1], step):
        part = slice(begin, begin + step)
        entries = iter(logprobs(reader.extend(past, fed[:, part], real[:, part]), wanted[:, part][real[:, part]], top))
        for row, count in enumerate(real[:, part].sum(1).tolist()):
            scored[row] += [next(entries) for _ in range(count)]
    return scored


class CausalReader(Reader):
    """past: [cache, bool mask [B, P]]; positions are counted from the mask."""

    def __init__(self, causal: CausalModel) -> None:
        self._causal = causal
        self.equal = causal.has_window  # a sliding window is measured in columns, padding included
        self._shared = kv.new_cache()
        self._num_shared = 0

    def share(self, prefix: TokenIds) -> Generator[None, None, None]:
        """Reads what all prompts begin with."""
        if prefix:
            yield from self._causal.read(prefix, self._shared)
            self._num_shared = len(prefix)

    def open(self, prompts: Sequence[TokenIds]) -> tuple[Any, Tensor]:
        past = [kv.copy_of(self._shared, [0] * len(prompts)), torch.ones(len(prompts), self._num_shared, dtype=torch.bool)]
        ids = torch.tensor(padded(prompts, 0))
        real = torch.tensor(padded([[1] * len(prompt) for prompt in prompts], 0)).bool()
        last = torch.zeros_like(real)
        last[torch.arange(len(prompts)), real.sum(1) - 1] = True
        found = torch.empty(0)
        order = []
        for begin in range(0, ids.shape[1], PIECE):
            part = slice(begin, begin + PIECE)
            order += last[:, part].any(1).nonzero()[:, 0].tolist()
            logits = self._feed(past, ids[:, part], real[:, part], last[:, part])
            found = torch.cat([found, logits]) if found.numel() else logits
        return past, found[torch.tensor(order).argsort()]

    def rows(self, past: Any, index: list[int]) -> Any:
        cache, mask = past
        return [kv.copy_of(cache, index), mask[torch.tensor(index)]]

    def extend(self, past: Any, ids_BT: Tensor, places_BT: Tensor) -> Tensor:
        return self._feed(past, ids_BT, places_BT, places_BT)

    def _feed(self, past: Any, ids_BT: Tensor, real_BT: Tensor, wanted_BT: Tensor) -> Tensor:
        cache, before = past
        past[1] = mask = torch.cat([before, real_BT], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, before.shape[1] :]
        with gathered(self._causal.model, wanted_BT):
            return self._causal.logits(ids_BT, positions, cache, None if mask.all() else mask, last=False)


class Seq2SeqReader(Reader):
    """past: [encoded, cache]. The opening of the decoder fills the cross-attention once an item."""

    def __init__(self, seq2seq: Seq2SeqModel) -> None:
        self._seq2seq = seq2seq

    def open(self, prompts: Sequence[TokenIds]) -> tuple[Any, Tensor]:
        encoded = self._seq2seq.encode(prompts)
        cache = EncoderDecoderCache(kv.new_cache(), kv.new_cache())
        opening = torch.tensor([self._seq2seq.opening] * len(prompts))
        return [encoded, cache], self._seq2seq.logits(opening, encoded, cache)[:, -1]

    def rows(self, past: Any, index: list[int]) -> Any:
        (vectors, mask), cache = past
        chosen = torch.tensor(index)
        copied: list[Cache] = [kv.copy_of(part, index) for part in (cache.self_attention_cache, cache.cross_attention_cache)]
        return [(vectors[chosen], mask[chosen]), EncoderDecoderCache(*copied)]

    def extend(self, past: Any, ids_BT: Tensor, places_BT: Tensor) -> Tensor:
        encoded, cache = past
        with gathered(self._seq2seq.model, places_BT):
            return self._seq2seq.logits(ids_BT, encoded, cache)


def shared_prefix(items: Sequence[ScoreItem]) -> TokenIds:
    """What all prompts begin with, less the last token of the shortest: every prompt keeps one to be read on its own."""
    prompts = [item.prompt for item in items]
    return prompts[0][: min(common_prefix(prompts), min(map(len, prompts)) - 1)]
