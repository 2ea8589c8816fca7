"""Repeated runs of characters: "click here click here click here"."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Characters, Floats
from llmos.data.steps.measured import Measured
from llmos.data.steps.ranged import Ranged, RatioConfig
from llmos.data.steps.spaced_words import Repeats, neighbours, repeats

PART_CHARS = 1 << 18


@step("character_repetition")
class CharacterRepetition(Ranged):
    """Keeps texts whose character n-gram repetition is in range: of all n-grams, the share that the most frequent ones make up, of which
    sqrt(number of different n-grams) are taken, and only such that occur more than once (ROOTS, Laurençon et al. 2022,
    arXiv:2303.03915, A.2). Defaults: 10-grams, at most 0.5, Data-Juicer's `character_repetition_filter`."""

    class Config(RatioConfig):
        num_chars: int = Field(10, ge=1, le=1000, description="Characters of an n-gram.")
        max_ratio: float = Field(0.5, ge=0, description="The highest share that is kept.")

    config: Config
    signal = "character_repetition"

    def measure(self, rows: Rows) -> Values:
        parts = rows.derived(Measured, self.column).characters.parts(PART_CHARS)
        return np.concatenate([np.zeros(0), *(repetition(part, self.config.num_chars) for part in parts)])


def repetition(found: Characters, num: int) -> Floats:
    """Of each text."""
    hashes = neighbours(found.codes.astype(np.uint64), num)
    inside = np.ones(len(found.codes), dtype=bool)
    for before in range(num):  # an n-gram that begins so far before the line feed after a text would reach it
        inside[np.maximum(found.ends - before, 0)] = False
    row = np.repeat(np.arange(len(found.lengths)), np.maximum(found.lengths - num + 1, 0))
    return share_of_most_frequent(repeats(hashes[inside[: len(hashes)]], row, len(found.lengths)))


def share_of_most_frequent(found: Repeats) -> Floats:
    """Of all n-grams of a text, those that are among its sqrt(different) most frequent and occur more than once."""
    order = np.lexsort((-found.times, found.row))
    row, times = found.row[order], found.times[order]
    first = np.searchsorted(row, np.arange(len(found.total)))
    rank = np.arange(len(row)) - first[row]
    taken = rank < np.sqrt(found.different).astype(np.int64)[row]
    repeated = np.bincount(row[taken], weights=times[taken], minlength=len(found.total))
    shares: Floats = repeated / np.maximum(found.total, 1)
    return shares
