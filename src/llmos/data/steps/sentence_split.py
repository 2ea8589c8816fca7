"""One row a sentence."""

from __future__ import annotations

from itertools import chain

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Expander, Rows, TextConfig, Values, step
from llmos.text.sentences import sentence_spans


@step("sentence_split")
class SentenceSplit(Expander):
    """Makes a row of every sentence (text/sentences.py: English and Chinese rules); the other columns are copied. A text without
    one is dropped."""

    class Config(TextConfig):
        min_chars: int = Field(1, ge=1, description="Characters below which a sentence is not taken.")

    config: Config
    reason = "no sentences"

    def expand(self, rows: Rows) -> tuple[pl.DataFrame, Values]:
        pieces = [[text[start:end] for start, end in sentence_spans(text)] for text in rows.text(self.column).to_list()]
        pieces = [[one for one in each if len(one) >= self.config.min_chars] for each in pieces]
        return expanded(rows, self.column, pieces)


def expanded(rows: Rows, column: str, pieces: list[list[str]]) -> tuple[pl.DataFrame, Values]:
    """The rows once for each of their pieces, which stand in the column instead of the text."""
    parents = np.repeat(np.arange(len(pieces)), [len(each) for each in pieces])
    made = rows.frame[parents].with_columns(pl.Series(column, list(chain.from_iterable(pieces)), dtype=pl.String))
    return made, parents
