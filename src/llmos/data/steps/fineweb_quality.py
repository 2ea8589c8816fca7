"""The line heuristics of FineWeb.

Source of signals and thresholds: Penedo et al. 2024, "The FineWeb Datasets", section 3.5 (https://arxiv.org/abs/2406.17557).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Filter, Rows, Rule, TextConfig, Values, step
from llmos.data.lines import Elements, elements
from llmos.data.words import words_of

# Unicode property Sentence_Terminal (UAX #44), without the marks that only look like one.
_TERMINAL = r"[\p{Sentence_Terminal}]$"


def _lines(text: pl.Series) -> Elements:
    found = elements(text)
    there = found.texts.str.contains(r"\S")
    counts = np.bincount(found.owner[there.to_numpy()], minlength=len(text))
    return Elements(found.texts.filter(there), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


@step("fineweb_quality")
class FineWebQuality(Filter):
    """Keeps texts whose lines end like sentences, are not mostly short, do not repeat, and are longer than those of a list."""

    class Config(TextConfig):
        min_punctuated_lines: float = Field(0.12, description="Share of lines that end in a mark that ends sentences.")
        max_short_lines: float = Field(0.67, description="Share of lines of at most `short_chars` characters.")
        short_chars: int = 30
        max_repeated_chars: float = Field(0.01, description="Share of characters in lines that are there a second time.")
        max_breaks_per_word: float = 0.3

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        text = rows.text(self.column)
        lines = rows.derived(_lines, self.column)
        num = np.where(lines.counts > 0, lines.counts, 1)
        chars = lines.texts.str.len_chars().to_numpy()
        breaks = text.str.count_matches("\n", literal=True).to_numpy()
        whole = np.maximum(text.str.len_chars().to_numpy() - breaks, 1)
        words = rows.derived(words_of, self.column)
        return {
            "lines": lines.counts,
            "punctuated_lines": lines.sums(lines.texts.str.contains(_TERMINAL).to_numpy()) / num,
            "short_lines": lines.sums(chars <= self.config.short_chars) / num,
            "repeated_line_chars": lines.sums(chars * lines.repeats()) / whole,
            "breaks_per_word": breaks / np.maximum(words.counts, 1),
        }

    @property
    def rules(self) -> Sequence[Rule]:
        c = self.config
        return (
            Rule(signal="lines", at_least=1),
            Rule(signal="punctuated_lines", at_least=c.min_punctuated_lines),
            Rule(signal="short_lines", at_most=c.max_short_lines),
            Rule(signal="repeated_line_chars", at_most=c.max_repeated_chars),
            Rule(signal="breaks_per_word", at_most=c.max_breaks_per_word),
        )
