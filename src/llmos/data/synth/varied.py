"""Steps that write a text anew without a model: some copies of each row, with what is drawn following from the row's id."""

from __future__ import annotations

import random
from abc import abstractmethod
from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Expanded, Expander, Rows, TextConfig
from llmos.data.synth.base import seed_of
from llmos.data.synth.making import Making


class VariedConfig(TextConfig):
    rate: float = Field(0.1, gt=0, le=1, description="Share of the words that change, at least one word (EDA's alpha).")
    num_copies: int = Field(1, ge=1, le=64, description="Copies made of each row.")
    keep_original: bool = Field(True, description="Whether the rows themselves go on beside what is made of them.")


class Varied(Expander):
    """`vary` is what a subclass brings. A copy that comes out as the text, or as another copy, is refused."""

    config: Any
    refusal = "There is nothing to change in it."

    @abstractmethod
    def vary(self, text: str, draw: random.Random) -> str: ...

    def expand(self, rows: Rows) -> Expanded:
        config, texts = self.config, rows.text(self.column).to_list()
        ids = rows.frame.get_column(ID).to_list()
        making = Making(rows=rows, step=self.name, model=None, columns={self.column: pl.String}, originals=config.keep_original)
        for row, text in enumerate(texts):
            seen = {text}
            for nth in range(config.num_copies):
                draw = random.Random(seed_of(self.context.seed, self.name, ids[row], nth))  # noqa: S311 - nothing secret
                made = self.vary(text, draw)
                if made in seen:
                    making.refuse(row, "copy", self.refusal if made == text else "It is another copy once more.")
                else:
                    seen.add(made)
                    making.add(row, {self.column: made})
        return making.finish()

    def changes(self, num: int, draw: random.Random) -> list[int]:
        """Which of `num` places change, ascending: max(1, rate * num) of them (Wei & Zou 2019, section 2)."""
        return sorted(draw.sample(range(num), min(num, max(1, round(self.config.rate * num)))))
