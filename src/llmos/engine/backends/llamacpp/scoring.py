"""Log-probabilities of given continuations on a llama.cpp context, with everything shared computed once.

    slot `base`      what all prompts of the call begin with     computed once a call
    slot `base+1`    the rest of one prompt                      computed once an item
    slots `base+2…`  the continuations, side by side             one step for all that fit

The cells of a shared part are shared too: copying a sequence computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from llmos.engine.backends.native import shared_prefix, token_logprob
from llmos.engine.base import ScoreItem, ScoreResult
from llmos.types import TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Decoder(Protocol):
    """The part of context.Context that scoring needs."""

    def decode(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[bool]) -> None: ...

    def logits(self, index: int) -> NDArray[np.float32]: ...

    def share(self, source: int, target: int, length: int) -> bool: ...

    def clear(self, sequence: int) -> None: ...


class Scorer:
    """Works in `num_slots` slots from `base` on, at least 3; leaves them empty. batch_tokens: of one step. num_cells: of the
    cache, at least one prompt with one continuation."""

    def __init__(self, context: Decoder, *, base: int, num_slots: int, batch_tokens: int, num_cells: int) -> None:
        self._context, self._base, self._num_cells = context, base, num_cells
        self._num_branches, self._batch_tokens = num_slots - 2, batch_tokens

    def cells_needed(self, items: Sequence[ScoreItem]) -> int:
        """Cells of the cache that `score` takes at most: a prompt and the continuations that are computed at once."""
        cells = (len(item.prompt) + sum(sorted(map(len, item.continuations))[-self._num_branches :]) for item in items)
        return min(max(cells, default=0), self._num_cells)

    def score(self, items: Sequence[ScoreItem], top: int) -> Iterator[ScoreResult]:
        """One result at a time, so that others can compute in between. Closing it early leaves the slots empty too."""
        shared = shared_prefix([item.prompt for item in items])
        try:
            if shared:
                self._feed(self._base, items[0].prompt[:shared], 0)
            for item in items:
                yield self._item(item, shared, top)
        finally:
            for slot in range(self._base, self._base + 2 + self._num_branches):
                self._context.clear(slot)

    def _item(self, item: ScoreItem, shared: int, top: int) -> ScoreResult:
        slot = self._base + 1
        if shared and not self._context.share(self._base, slot, shared):
            shared = 0  # an architecture whose state cannot be cut: compute the whole prompt
        if not shared:
            self._context.clear(slot)
        self._feed(slot, item.prompt[shared:], shared)
        first = self._context.logits(self._last).copy()
        scores = [[token_logprob(first, one[0], top)] if one else [] for one in item.continuations]
        self._branches(item, scores, top)
        return ScoreResult(continuations=tuple(tuple(one) for one in scores))

    def _feed(self, slot: int, tokens: Sequence[int], start: int) -> None:
        """Computes tokens[…] at positions from `start`; afterwards `_last` is the step's index of the last one."""
        for begin in range(0, len(tokens), self._batch_tokens):
            piece = tokens[begin : begin + self._batch_tokens]
            positions = range(start + begin, start + begin + len(piece))
            wanted = [False] * (len(piece) - 1) + [True]
            self._context.decode(piece, positions, [slot] * len(piece), wanted)
            self._last = len(piece) - 1

    def _branches(self, item: ScoreItem, scores: list[list[TokenLogprob]], top: int) -> None:
        """Every token but the last of each continuation is computed for the log-probability of the one after it."""
        start = len(item.prompt)
        for group in self._groups(item):
            places: list[tuple[int, int, int]] = []  # (slot, continuation, token of it)
            for slot, index in enumerate(group, self._base + 2):
                self._context.share(self._base + 1, slot, start)
                places += [(slot, index, place) for place in range(len(item.continuations[index]) - 1)]
            for piece in (places[at : at + self._batch_tokens] for at in range(0, len(places), self._batch_tokens)):
                tokens = [item.continuations[index][place] for _, index, place in piece]
                positions = [start + place for _, _, place in piece]
                self._context.decode(tokens, positions, [slot for slot, _, _ in piece], [True] * len(piece))
                for row, (_, index, place) in enumerate(piece):
                    scores[index].append(token_logprob(self._context.logits(row), item.continuations[index][place + 1], top))

    def _groups(self, item: ScoreItem) -> Iterator[list[int]]:
        """The continuations that have something to compute, in groups that fit the slots and the cells beside the prompt."""
        group: list[int] = []
        cells = 0
        for index, length in ((index, len(one) - 1) for index, one in enumerate(item.continuations) if len(one) > 1):
            if group and (len(group) == self._num_branches or len(item.prompt) + cells + length > self._num_cells):
                yield group
                group, cells = [], 0
            group.append(index)
            cells += length
        if group:
            yield group
