"""Steps that write a text anew some times: what they ask differs, how answers are drawn and checked does not."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Expanded, Expander, Rows
from llmos.data.synth.answerers import question
from llmos.data.synth.base import DrawnConfig, ModelStep, WritingConfig
from llmos.data.synth.making import Copies, Making
from llmos.errors import InvalidValue


class CheckedConfig(DrawnConfig):
    keep_original: bool = Field(True, description="Whether the rows themselves go on beside what is made of them.")
    max_likeness: float = Field(0.9, ge=0, le=1, description="Answers that share more character trigrams with the text are copies.")
    min_likeness: float = Field(0.0, ge=0, le=1, description="Answers that share fewer have lost it.")
    verify_model: str = Field("", description='A model that embeds and says whether the meaning is still there; "" asks none.')
    min_cosine: float = Field(0.7, ge=-1, le=1, description="Answers whose vector is less near the text's have lost its meaning.")


class RewritingConfig(CheckedConfig, WritingConfig):
    temperature: float = Field(
        0.8, ge=0, le=2, description="0 writes the likeliest answer, which is one and the same for all copies."
    )
    top_p: float = Field(0.95, gt=0, le=1, description="Draws from the likeliest tokens that have this much probability together.")
    num_copies: int = Field(1, ge=1, le=64, description="Answers asked of each text.")


def judged(step: ModelStep, making: Making, found: Sequence[tuple[int, str, str]]) -> None:
    """Takes or refuses what was written: (row, text or "", why there is none). Of a CheckedConfig."""
    config: Any = step.config
    texts, ids = making.rows.text(step.column).to_list(), making.rows.frame.get_column(ID).to_list()
    there = [(row, text) for row, text, _ in found if text]
    cosines = iter([1.0] * len(there))
    if config.verify_model and there:
        names = [ids[row] for row, _ in there]
        one = step.vectors([text for _, text in there], names, config.verify_model)
        other = step.vectors([texts[row] for row, _ in there], names, config.verify_model)
        cosines = iter((one * other).sum(axis=1).tolist())
    copies = Copies(making=making, at_most=config.max_likeness, at_least=config.min_likeness, min_cosine=config.min_cosine)
    for row, text, why in found:
        if text:
            copies.take(row, text, texts[row], column=step.column, cosine=next(cosines))
        else:
            making.refuse(row, "answer", why or "The answer is empty.")


class Rewriting(ModelStep, Expander):
    """`prompt` is what a subclass brings."""

    models = ("model", "verify_model")
    config: Any

    def prepare(self) -> None:
        if self.config.num_copies > 1 and self.config.temperature == 0:
            raise InvalidValue(
                f"num_copies is {self.config.num_copies} and temperature 0: the copies would be one and the same.",
                param="temperature",
            )

    @abstractmethod
    def prompt(self, row: str, nth: int, text: str) -> str:
        """The nth question about that row."""

    def expand(self, rows: Rows) -> Expanded:
        config, texts = self.config, rows.text(self.column).to_list()
        ids = rows.frame.get_column(ID).to_list()
        asked = [(row, nth) for row, text in enumerate(texts) if text.strip() for nth in range(config.num_copies)]
        questions = [question(self.prompt(ids[row], nth, texts[row]), self.sampling(ids[row], nth)) for row, nth in asked]
        making = Making(
            rows=rows, step=self.name, model=self.ref(), columns={self.column: pl.String}, originals=config.keep_original
        )
        answers = zip(asked, self.write(questions), strict=True)
        judged(self, making, [(row, answer.body.get("text", "").strip(), answer.refused) for (row, _), answer in answers])
        return making.finish()
