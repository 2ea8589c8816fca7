"""Which examples a step computes: a function of the seed and the step, with nothing to remember and nothing to skip.

    place     0 1 2 3 4 | 5 6 7 8 9 | 10 …     all epochs one after the other; a step takes the next `batch_size` places
    epoch     0           1           2
    example   3 0 4 2 1 | 1 4 0 3 2 | 2 …      each epoch in an order of its own

A step's places are the same for any number of workers; each takes an equal stretch of them (the last ones may get less).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmos.training.draws import Purpose, Words, mixed, seed_of, words

Ints = np.ndarray[Any, np.dtype[np.int64]]

NUM_ROUNDS = 8  # of the Feistel network; 4 make a permutation that is not told from a random one (Luby, Rackoff 1988)
LEAST_HALF = 3  # bits: networks over 16 values favour some permutations (chi-square 250 with 119 degrees of freedom), over 64 not


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """num_examples: at least 1. epochs: may be a fraction. batch_size: examples of a step, of all workers and micro-batches together. The
    last step takes what is left."""

    num_examples: int
    epochs: float
    batch_size: int
    seed: int
    shuffle: bool = True

    @property
    def num_places(self) -> int:
        return max(1, round(self.num_examples * self.epochs))

    @property
    def num_steps(self) -> int:
        return -(-self.num_places // self.batch_size)

    def places(self, step: int, worker: int = 0, num_workers: int = 1) -> Ints:
        """int64[n], those of one worker, ascending. step from 0."""
        assert 0 <= step < self.num_steps, f"step {step} of {self.num_steps}"
        first = step * self.batch_size
        num = min(self.batch_size, self.num_places - first)
        share = -(-num // num_workers)
        return first + np.arange(min(worker * share, num), min((worker + 1) * share, num), dtype=np.int64)

    def examples(self, places: Ints) -> Ints:
        """int64[n], the example at each place."""
        if not self.shuffle:
            return places % self.num_examples
        epochs, inside = places // self.num_examples, places % self.num_examples
        found = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            found[here] = permuted(inside[here], self.num_examples, seed_of(self.seed, Purpose.ORDER, epoch))
        return found


def permuted(places: Ints, num: int, key: int) -> Ints:
    """int64[n], where a permutation of 0 … num - 1 sends each place: a Feistel network over a power of 4, walked until it is inside
    (Black, Rogaway 2002, "Ciphers with arbitrary finite domains")."""
    half = np.uint64(max(LEAST_HALF, ((num - 1).bit_length() + 1) // 2))
    keys = words(NUM_ROUNDS, key)
    found = _network(places.astype(np.uint64), half, keys)
    while len(outside := np.flatnonzero(found >= num)):
        found[outside] = _network(found[outside], half, keys)
    return found.astype(np.int64)


def _network(values: Words, half: np.uint64, keys: Words) -> Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (mixed(right + key) & mask)
    return (left << half) | right
