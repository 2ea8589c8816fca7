"""Repeated runs of words: boilerplate, stuffed key words, loops of a generating model."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig
from llmos.data.steps.spaced_words import ngrams, repeats


@step("word_repetition")
class WordRepetition(Ranged):
    """Keeps texts whose word n-gram repetition is in range: of all n-grams of lower-case words (spaced_words.py), the share of those
    that occur more than once (ROOTS, Laurençon et al. 2022, arXiv:2303.03915, A.2). Defaults: 10-grams, at most 0.5, Data-Juicer's
    `word_repetition_filter`. Text without spaces has few words: use `character_repetition` for Chinese."""

    class Config(RatioConfig):
        num_words: int = Field(10, ge=1, le=1000, description="Words of an n-gram.")
        max_ratio: float = Field(0.5, ge=0, description="The highest share that is kept.")

    config: Config
    signal = "word_repetition"

    def measure(self, rows: Rows) -> Values:
        words = measured(rows, self.column).lower_words
        found = repeats([ngrams(words.hashes, words.count, self.config.num_words)])
        return found.repeated() / np.maximum(found.total, 1)
