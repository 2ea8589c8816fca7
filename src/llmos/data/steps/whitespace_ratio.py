"""Share of white space: broken layouts and columns of tables have much."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Kind
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig


@step("whitespace_ratio")
class WhitespaceRatio(Ranged):
    """Keeps texts whose share of white space (Unicode, `str.isspace`) is in range. Default: at most 0.25, NeMo Curator's
    `WhiteSpaceFilter`."""

    class Config(RatioConfig):
        min_ratio: float = Field(0.0, ge=0, description="The lowest share that is kept.")
        max_ratio: float = Field(0.25, ge=0, description="The highest share that is kept.")

    signal = "whitespace_ratio"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).characters.share(Kind.SPACE)
