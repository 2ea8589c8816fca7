"""Keeps what a model of the library says is of certain classes: quality and toxicity filters by any classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from llmos.data.base import ID, Filter, Rows, Rule, Values, step
from llmos.data.synth.base import ModelConfig, ModelStep
from llmos.data.synth.labels import Labels, classified
from llmos.errors import InvalidValue, did_you_mean


@step("class_is")
class ClassIs(ModelStep, Filter):
    """Keeps a text when the labels of `keep` have min_probability together, of all `labels`. The signal is named after them
    ("probability of clean"). An empty text has no class and is kept."""

    class Config(ModelConfig):
        labels: Labels = Field(description="All labels, or label: description; a description is what the model reads.")
        keep: tuple[str, ...] = Field(min_length=1, description="Those of them that are wanted.")
        min_probability: float = Field(0.5, ge=0, le=1, description="What the wanted labels must have together.")
        template: str | None = Field(None, description="The question, with {text} and {labels}; None is the model's own way.")

    apart: ClassVar[bool] = True
    config: Config

    def prepare(self) -> None:
        unknown = [label for label in self.config.keep if label not in self.config.labels]
        if unknown:
            raise InvalidValue(
                f"keep names {unknown[0]!r}, which is no label.", param="keep", hint=did_you_mean(unknown[0], [*self.config.labels])
            )

    @property
    def signal(self) -> str:
        return f"probability of {' or '.join(self.config.keep)}"

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        ids = rows.frame.get_column(ID).to_list()
        found = classified(self, rows.text(self.column).to_list(), ids, self.config.labels, self.config.template)
        return {
            self.signal: np.array(
                [sum(one[label] for label in self.config.keep) if one else np.nan for one in found], dtype=np.float64
            )
        }

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal=self.signal, at_least=self.config.min_probability),)
