"""Texts in another language, by a model of the library."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Mapped, Mapper, Rows, step
from llmos.data.synth.asked import Answer
from llmos.data.synth.base import DrawnConfig, ModelStep
from llmos.data.synth.making import marked
from llmos.data.synth.translating import translated
from llmos.text.languages import language


@step("translate")
class Translate(ModelStep, Mapper):
    """Adds a column with the translation, by T5, Marian or an instruct model, each asked in its own way, part by part. A row whose
    translation does not end is dropped; the ledger has the reason."""

    class Config(DrawnConfig):
        target_language: str = Field(min_length=2, description="Name or code: French, fr.")
        source_language: str | None = Field(None, description="None lets an instruct model see for itself.")
        max_tokens: int | None = Field(None, ge=1, description="For one part; None is three times as long as it.")
        output_column: str = Field("translation", min_length=1, description="Gets the translation.")

    config: Config

    def prepare(self) -> None:
        language(self.config.target_language, param="target_language")
        if self.config.source_language:
            language(self.config.source_language, param="source_language")

    def map(self, rows: Rows) -> Mapped:
        texts, ids = rows.text(self.column).to_list(), rows.frame.get_column(ID).to_list()
        samplings = [self.sampling(row) for row in ids]
        found = translated(self, texts, samplings, self.config.target_language, source=self.config.source_language)
        return written(self, rows, found, self.config.output_column)


def written(step: Any, rows: Rows, found: list[Answer], column: str) -> Mapped:
    """The answers as a column; rows without one are dropped for the reason in the ledger."""
    texts = pl.Series([answer.body.get("text") for answer in found], dtype=pl.String)
    return Mapped(
        columns={column: texts, **marked(rows, step.name, step.ref())},
        drop=pl.Series([bool(answer.refused) for answer in found]),
        reason=f"no {column}",
        detail=[answer.refused for answer in found],
    )
