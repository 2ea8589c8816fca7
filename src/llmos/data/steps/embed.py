"""Vectors of texts."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Mapped, Mapper, Rows, step
from llmos.data.synth.base import ModelConfig, ModelStep


@step("embed")
class Embed(ModelStep, Mapper):
    """Adds a column with the vector of each text, of length 1, from a model of the library that embeds. A text past the model's context
    is the mean of its parts by length."""

    class Config(ModelConfig):
        vector_column: str = Field("embedding", min_length=1, description="Gets the vectors, lists of 32-bit numbers.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        found = self.vectors(rows.text(self.column).to_list(), rows.frame.get_column(ID).to_list())
        column = pl.Series(self.config.vector_column, found, dtype=pl.Array(pl.Float32, found.shape[1])).cast(pl.List(pl.Float32))
        return Mapped(columns={self.config.vector_column: column})
