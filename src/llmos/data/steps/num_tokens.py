"""Length in tokens of a given tokeniser."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from llmos.data.base import Rows, Values, step
from llmos.data.steps.ranged import RangeConfig, Ranged
from llmos.data.steps.word_lists import digest_of_file
from llmos.library.library import Library
from llmos.settings import Settings
from llmos.text.base import Tokenizer
from llmos.text.load import load_tokenizer


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

    config: Config
    signal = "num_tokens"

    def prepare(self) -> None:
        self.tokenizer = tokenizer_of(self.config.tokenizer, self.context.settings)

    def measure(self, rows: Rows) -> Values:
        return np.array([len(ids) for ids in self.tokenizer.encode_batch(rows.text(self.column).to_list())], dtype=np.float64)


def tokenizer_of(name: str, settings: Settings) -> Tokenizer:
    """Of a model of the library, or the tokenizer.json at that path. Raises NotFound, CorruptFile."""
    return _of_folder(Path(name).expanduser().absolute().parent if is_file(name) else Library.open(settings).resolve(name).folder)


def is_file(name: str) -> bool:
    return Path(name).name == "tokenizer.json"


@lru_cache(maxsize=4)
def _of_folder(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)
