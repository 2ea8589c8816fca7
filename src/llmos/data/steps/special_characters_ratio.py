"""Share of special characters: punctuation, digits, white space, signs and emojis."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Kind
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged, RatioConfig


@step("special_characters_ratio")
class SpecialCharactersRatio(Ranged):
    """Keeps texts whose share of special characters (characters.py: SPECIAL) is in range. Default: at most 0.25, Data-Juicer's
    `special_characters_filter`; ROOTS (Laurençon et al. 2022) sets 0.2 to 0.4 by language."""

    class Config(RatioConfig):
        min_ratio: float = Field(0.0, ge=0, description="The lowest share that is kept.")
        max_ratio: float = Field(0.25, ge=0, description="The highest share that is kept.")

    signal = "special_characters_ratio"

    def measure(self, rows: Rows) -> Values:
        return measured(rows, self.column).characters.share(Kind.SPECIAL)
