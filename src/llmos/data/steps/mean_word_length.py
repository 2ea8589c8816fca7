"""Characters per word: gibberish and run-together text has long ones, lists of letters short ones."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import RangeConfig, Ranged


@step("mean_word_length")
class MeanWordLength(Ranged):
    """Keeps texts whose words (spaced_words.py) have min_chars to max_chars characters in the mean; no word counts as 0. Default: 3 to
    10, Gopher (Rae et al. 2021, arXiv:2112.11446, A1.1). `gopher_quality` has the same rule with its own words."""

    class Config(RangeConfig):
        min_chars: float = Field(3, ge=0, description="The lowest mean that is kept.")
        max_chars: float = Field(10, ge=0, description="The highest mean that is kept.")

    signal = "mean_word_chars"

    def measure(self, rows: Rows) -> Values:
        words = measured(rows, self.column).words
        return words.length / np.maximum(words.count, 1)
