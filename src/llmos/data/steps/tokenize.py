"""Text to token ids."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.data.tokenizers import tokenizer_of


@step("tokenize")
class Tokenize(Mapper):
    """Adds the columns `input_ids` and `num_tokens`. tokenizer: a model of the library (its weights are not loaded), or the path of a
    tokenizer.json. special: adds what the model expects around a text (BOS, [CLS] … [SEP]); eos: ends every text with the end token."""

    disk = ("tokenizer",)

    class Config(TextConfig):
        tokenizer: str = Field(min_length=1, description="Model of the library, or path of a tokenizer.json.")
        special: bool = False
        eos: bool = Field(True, description="Adds the token that ends a text, where the tokenizer has one.")
        into: str = "input_ids"

    tokenizers = ("tokenizer",)
    config: Config

    def prepare(self) -> None:
        self.tokenizer = tokenizer_of(self.config.tokenizer, self.context)

    def map(self, rows: Rows) -> Mapped:
        found = self.tokenizer.encode_batch(rows.text(self.column).to_list(), add_special=self.config.special)
        end = list(self.tokenizer.special.eos[:1]) if self.config.eos else []
        ids = pl.Series([[*one, *end] for one in found], dtype=pl.List(pl.Int32))
        return Mapped(columns={self.config.into: ids, "num_tokens": ids.list.len().cast(pl.Int64)})
