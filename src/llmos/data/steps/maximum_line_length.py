"""Length of the longest line: minified code and data dumps have very long ones."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import RangeConfig, Ranged


@step("maximum_line_length")
class MaximumLineLength(Ranged):
    """Keeps texts whose longest line has min_chars to max_chars characters. Default: at least 10, Data-Juicer's
    `maximum_line_length_filter`. For source code The Stack v1 (Kocetkov et al. 2022, arXiv:2211.15533) keeps at most 1000."""

    class Config(RangeConfig):
        min_chars: int = Field(10, ge=0, description="The shortest longest line that is kept.")
        max_chars: int | None = Field(None, ge=0, description="The longest line that is kept; not set: any length.")

    signal = "max_line_chars"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).lines.longest
