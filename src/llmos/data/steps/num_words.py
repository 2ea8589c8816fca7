"""Number of words."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import RangeConfig, Ranged


@step("num_words")
class NumWords(Ranged):
    """Keeps texts of min_words to max_words words as spaced_words.py finds them. Default: at least 10, Data-Juicer's
    `words_num_filter`."""

    class Config(RangeConfig):
        min_words: int = Field(10, ge=0, description="The fewest words that are kept.")
        max_words: int | None = Field(None, ge=0, description="The most words that are kept; not set: any number.")

    signal = "num_words"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).words.count
