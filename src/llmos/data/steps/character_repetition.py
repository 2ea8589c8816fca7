"""Repeated runs of characters: "click here click here click here"."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Characters, Floats
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig
from llmos.data.steps.spaced_words import Hashes, Repeats, byte_windows, neighbours, repeats, within

PART_BYTES = 1 << 16  # what is made of them, 8 to 16 bytes for each, stays in a core's own cache
TIMES_BITS = 40


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
        made, num = measured(rows, self.column).characters, self.config.num_chars
        found = np.zeros(len(rows))
        found[rows.alive] = repetition(made.select(rows.alive), num)
        return found


def repetition(made: Characters, num: int) -> Floats:
    """Of each text."""
    return share_of_most_frequent(
        repeats(within(_windows(part, num), part.lengths, num, apart=1) for part in made.parts(PART_BYTES))
    )


def _windows(part: Characters, num: int) -> Hashes:
    narrow = part.narrow() if 8 <= num <= 16 else None
    return neighbours(part.points().astype(np.uint64), num) if narrow is None else byte_windows(narrow, num)


def share_of_most_frequent(found: Repeats) -> Floats:
    """Of all n-grams of a text, those that are among its sqrt(different) most frequent and occur more than once."""
    keys = (found.row << TIMES_BITS) | ((1 << TIMES_BITS) - 1 - found.times)  # texts in order, in each the most frequent first
    keys.sort()
    row, times = keys >> TIMES_BITS, (1 << TIMES_BITS) - 1 - (keys & ((1 << TIMES_BITS) - 1))
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(found.total)))[row]
    taken = rank < np.sqrt(found.different).astype(np.int64)[row]
    repeated = np.bincount(row[taken], weights=times[taken], minlength=len(found.total))
    shares: Floats = repeated / np.maximum(found.total, 1)
    return shares
