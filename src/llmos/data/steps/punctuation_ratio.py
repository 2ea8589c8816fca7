"""Share of punctuation and symbols, of every script."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Kind
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig


@step("punctuation_ratio")
class PunctuationRatio(Ranged):
    """Keeps texts whose share of punctuation and symbols (Unicode P* and S*) is in range. There is no published threshold for this
    share, so `max_ratio` has no default; measured (5 %, median, 95 %): English documents 0.02, 0.07, 0.18, Chinese reviews 0.06, 0.10,
    0.17."""

    class Config(RatioConfig):
        min_ratio: float = Field(0.0, ge=0, description="The lowest share that is kept.")
        max_ratio: float = Field(ge=0, description="The highest share that is kept.")

    signal = "punctuation_ratio"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).characters.share(Kind.SYMBOL)
