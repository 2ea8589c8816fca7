"""Length in tokens of a given tokeniser."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from llmos.data.base import Rows, Values, step
from llmos.data.steps.ranged import RangeConfig, Ranged
from llmos.data.steps.word_lists import digest_of_file
from llmos.data.tokenizers import is_file, tokenizer_of


@step("num_tokens")
class NumTokens(Ranged):
    """Keeps texts of min_tokens to max_tokens tokens, without special tokens. tokenizer: a model of the library (its weights are not
    loaded), or the path of a tokenizer.json."""

    disk = ("tokenizer",)

    class Config(RangeConfig):
        tokenizer: str = Field(min_length=1, description="Model of the library, or path of a tokenizer.json.")
        min_tokens: int = Field(10, ge=0, description="The fewest tokens that are kept (Data-Juicer's `token_num_filter`).")
        max_tokens: int | None = Field(None, ge=0, description="The most tokens that are kept; not set: any number.")
        sha256: str = Field("", description="Of the tokenizer.json; filled in when the run is planned.")

        @model_validator(mode="after")
        def _pin(self) -> Self:
            if is_file(self.tokenizer):
                object.__setattr__(self, "sha256", digest_of_file(self.tokenizer, self.sha256))
            return self

    tokenizers = ("tokenizer",)
    config: Config
    signal = "num_tokens"

    def prepare(self) -> None:
        self.tokenizer = tokenizer_of(self.config.tokenizer, self.context)

    def measure(self, rows: Rows) -> Values:
        return np.array([len(ids) for ids in self.tokenizer.encode_batch(rows.text(self.column).to_list())], dtype=np.float64)
