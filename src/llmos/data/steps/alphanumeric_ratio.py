"""Share of letters and digits: pages of symbols, tables of lines and ASCII art have few."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Kind
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig


@step("alphanumeric_ratio")
class AlphanumericRatio(Ranged):
    """Keeps texts whose share of letters and digits (Unicode, `str.isalnum`) is in range. Default: at least 0.25, Data-Juicer's
    `alphanumeric_filter`."""

    class Config(RatioConfig):
        min_ratio: float = Field(0.25, ge=0, description="The lowest share that is kept.")
        max_ratio: float = Field(1.0, ge=0, description="The highest share that is kept.")

    signal = "alphanumeric_ratio"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).characters.share(Kind.ALPHANUMERIC)
