"""Keeps the texts that a linear classifier of your own finds to be of a kind: quality, spam, toxicity, topic."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from llmos.data.base import Rows, Values, step
from llmos.data.steps.linear_model import LinearModel
from llmos.data.steps.ranged import RangeConfig, Ranged
from llmos.data.steps.word_lists import digest_of_file
from llmos.errors import InvalidValue, did_you_mean


@step("linear_classifier")
class LinearClassifier(Ranged):
    """Keeps texts that have `label` with at least min_probability, by a model that `train_linear` made (linear_model.py) from labelled
    texts. It knows what it was trained on and nothing else; for classes that a language model must understand there is `class_is`."""

    disk = ("model",)

    class Config(RangeConfig):
        model: str = Field(min_length=1, description="Path of the model's file.")
        label: str = Field(min_length=1, description="The label that is wanted.")
        min_probability: float = Field(0.5, ge=0, le=1, description="The lowest probability that is kept.")
        sha256: str = Field("", description="Of that file; filled in when the run is planned.")

        @model_validator(mode="after")
        def _pin(self) -> Self:
            object.__setattr__(self, "sha256", digest_of_file(self.model, self.sha256))
            return self

    config: Config
    signal = "probability"

    def prepare(self) -> None:
        self.model = LinearModel.load(self.config.model)
        if self.config.label not in self.model.labels:
            hint = did_you_mean(self.config.label, list(self.model.labels))
            raise InvalidValue(f"The model has no label {self.config.label!r}.", param="label", hint=hint)

    def measure(self, rows: Rows) -> Values:
        found = self.model.probabilities(rows.text(self.column))
        return np.asarray(found[:, self.model.labels.index(self.config.label)], dtype=np.float64)
