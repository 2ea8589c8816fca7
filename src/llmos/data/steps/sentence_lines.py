"""One line a sentence."""

from __future__ import annotations

import polars as pl

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.text.sentences import sentence_spans


@step("sentence_lines")
class SentenceLines(Mapper):
    """Puts every sentence on a line of its own (text/sentences.py: English and Chinese rules). Data-Juicer: sentence_split_mapper,
    which asks NLTK's punkt for the ends of sentences."""

    config: TextConfig
    Config = TextConfig

    def map(self, rows: Rows) -> Mapped:
        lined = ["\n".join(text[start:end] for start, end in sentence_spans(text)) for text in rows.text(self.column).to_list()]
        return Mapped(columns={self.column: pl.Series(lined, dtype=pl.String)})
