"""Characters per line: lists and menus have few, minified code has many."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import RangeConfig, Ranged


@step("average_line_length")
class AverageLineLength(Ranged):
    """Keeps texts with min_chars to max_chars characters per line; all characters count, line ends too. Default: at least 10,
    Data-Juicer's `average_line_length_filter`. For source code The Stack v1 (Kocetkov et al. 2022, arXiv:2211.15533) keeps at most 100."""

    class Config(RangeConfig):
        min_chars: float = Field(10, ge=0, description="The fewest characters per line that are kept.")
        max_chars: float | None = Field(None, ge=0, description="The most characters per line that are kept; not set: any number.")

    signal = "average_line_chars"

    def measure(self, rows: Rows) -> Values:
        found = measured(rows, self.column)
        return found.characters.lengths / np.maximum(found.lines.count, 1)
