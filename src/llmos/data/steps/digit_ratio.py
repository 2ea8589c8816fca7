"""Share of digits: number tables, logs and price lists have many."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Kind
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig


@step("digit_ratio")
class DigitRatio(Ranged):
    """Keeps texts whose share of decimal digits (Unicode Nd) is in range. Default: at most 0.15, NeMo Curator's `NumbersFilter`."""

    class Config(RatioConfig):
        min_ratio: float = Field(0.0, ge=0, description="The lowest share that is kept.")
        max_ratio: float = Field(0.15, ge=0, description="The highest share that is kept.")

    signal = "digit_ratio"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).characters.share(Kind.DIGIT)
