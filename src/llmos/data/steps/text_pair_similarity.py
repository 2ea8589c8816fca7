"""How near two texts of a row are in meaning: translations, questions and answers, pairs for retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from llmos.data.base import ID, Filter, Rows, Rule, Values, step
from llmos.data.synth.base import ModelConfig, ModelStep


@step("text_pair_similarity")
class TextPairSimilarity(ModelStep, Filter):
    """Keeps rows where the cosine of the vectors of `column` and `other_column` is in [at_least, at_most]. For texts of two languages
    the model must know both. No threshold is published that holds for all models: look at the spread first (`data report`)."""

    class Config(ModelConfig):
        other_column: str = Field(min_length=1, description="The second text of the pair.")
        at_least: float | None = Field(None, ge=-1, le=1, description="Pairs that are less alike are dropped.")
        at_most: float | None = Field(None, ge=-1, le=1, description="Pairs that are more alike are dropped: copies.")

    apart: ClassVar[bool] = True
    config: Config

    def reads(self) -> Sequence[str]:
        return (self.column, self.config.other_column)

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        ids = rows.frame.get_column(ID).to_list()
        one, other = (rows.text(name).to_list() for name in self.reads())
        found = self.vectors([*one, *other], ids * 2)
        return {"cosine": (found[: len(ids)] * found[len(ids) :]).sum(axis=1)}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="cosine", at_least=self.config.at_least, at_most=self.config.at_most),)
