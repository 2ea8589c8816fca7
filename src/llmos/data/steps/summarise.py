"""Texts in short, by a model of the library."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import ID, Mapped, Mapper, Rows, step
from llmos.data.steps.translate import written
from llmos.data.synth.base import ModelStep, WritingConfig
from llmos.data.synth.translating import summarised


@step("summarise")
class Summarise(ModelStep, Mapper):
    """Adds a column with a summary of at most max_tokens, cut to whole sentences. What does not fit the context is summarised in parts, and
    the summaries once more. A row without a summary is dropped; the ledger has the reason."""

    class Config(WritingConfig):
        max_tokens: int = Field(160, ge=8, description="Of the summary.")
        output_column: str = Field("summary", min_length=1, description="Gets the summary.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts, ids = rows.text(self.column).to_list(), rows.frame.get_column(ID).to_list()
        found = summarised(self, texts, [self.sampling(row) for row in ids])
        return written(self, rows, found, self.config.output_column)
