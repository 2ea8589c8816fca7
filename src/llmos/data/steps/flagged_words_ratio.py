"""Share of flagged words: profanity, slurs, whatever a list names."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.function_words import FLAGGED
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged
from llmos.data.steps.word_lists import ListConfig
from llmos.errors import InvalidValue


@step("flagged_words_ratio")
class FlaggedWordsRatio(Ranged):
    """Keeps texts whose share of flagged words among their lower-case words (spaced_words.py) is in range. Default: at most 0.045,
    Data-Juicer's `flagged_words_filter`. A list must be named: `words`, `file`, or `builtin: true` for the short one of
    function_words.py. Words are found between spaces; for Chinese text the share of listed words is low by that."""

    disk = ("file",)

    class Config(ListConfig):
        max_ratio: float = Field(0.045, ge=0, description="The highest share that is kept.")
        builtin: bool = Field(False, description="Adds the short built-in list.")

    config: Config
    signal = "flagged_words_ratio"

    def prepare(self) -> None:
        self.listed = self.config.read() | (FLAGGED if self.config.builtin else frozenset())
        if not self.listed:
            raise InvalidValue(
                "flagged_words_ratio has no words.",
                param="words",
                hint="Give words, file, or builtin: true for a short English list.",
            )

    def measure(self, rows: Rows) -> Values:
        words = measured(rows, self.column).lower_words
        return words.count_in(self.listed) / np.maximum(words.count, 1)
