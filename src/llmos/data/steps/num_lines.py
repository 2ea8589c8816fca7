"""Number of lines."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import RangeConfig, Ranged


@step("num_lines")
class NumLines(Ranged):
    """Keeps texts of min_lines to max_lines lines, cut as `str.splitlines` does."""

    class Config(RangeConfig):
        min_lines: int = Field(1, ge=0, description="The fewest lines that are kept.")
        max_lines: int | None = Field(None, ge=0, description="The most lines that are kept; not set: any number.")

    signal = "num_lines"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).lines.count
