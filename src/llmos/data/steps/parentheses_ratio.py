"""Share of brackets: code, formulas and bibliographies have many."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig

BRACKETS = "()[]{}（）【】「」『』〈〉《》"


@step("parentheses_ratio")
class ParenthesesRatio(Ranged):
    """Keeps texts whose share of brackets, full-width ones too, is in range. Default: at most 0.1, NeMo Curator's
    `ParenthesesFilter`."""

    class Config(RatioConfig):
        max_ratio: float = Field(0.1, ge=0, description="The highest share that is kept.")

    signal = "parentheses_ratio"

    def measure(self, rows: Rows) -> Values:
        found = measured(rows, self.column).characters
        return found.share_of(found.total(found.marked("".join(BRACKETS))))
