"""Labels by any model of the library that can tell them apart: quality, toxicity, topic, sentiment."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Mapped, Mapper, Rows, step
from llmos.data.synth.base import ModelConfig, ModelStep
from llmos.data.synth.labels import Labels, classified


@step("classify")
class Classify(ModelStep, Mapper):
    """Adds the likeliest of the labels and its probability, as `predict` finds them (engine/scoring). A text that is too long is read in
    parts, which count by their length. An empty text has no label."""

    class Config(ModelConfig):
        labels: Labels = Field(description="The labels, or label: description; a description is what the model reads.")
        template: str | None = Field(None, description="The question, with {text} and {labels}; None is the model's own way.")
        label_column: str = Field("label", min_length=1, description="Gets the likeliest label.")
        probability_column: str = Field("probability", min_length=1, description="Gets its probability.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        config = self.config
        ids = rows.frame.get_column(ID).to_list()
        found = classified(self, rows.text(self.column).to_list(), ids, config.labels, config.template)
        best = [max(one, key=lambda label: one[label]) if one else None for one in found]
        sure = [one[label] if label is not None else None for one, label in zip(found, best, strict=True)]
        return Mapped(
            columns={
                config.label_column: pl.Series(best, dtype=pl.String),
                config.probability_column: pl.Series(sure, dtype=pl.Float64),
            },
            measure=("probability", pl.Series(sure, dtype=pl.Float64)),
        )
