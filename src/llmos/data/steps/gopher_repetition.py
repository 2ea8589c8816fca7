"""The repetition heuristics of Gopher.

Source of signals and thresholds: Rae et al. 2021 (https://arxiv.org/abs/2112.11446), table A1: repeated lines and paragraphs, the share of
characters in the most frequent 2- to 4-gram, and in repeated 5- to 10-grams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Filter, Rows, Rule, TextConfig, Values, step
from llmos.data.lines import Elements, elements
from llmos.data.repetition import covered, most_frequent, windows
from llmos.data.words import words_of


def _paragraphs(text: pl.Series) -> Elements:
    return elements(text.str.strip_chars().str.replace_all(r"\n{2,}", "\x1e"), "\x1e")


def _runs_of_lines(text: pl.Series) -> Elements:
    return elements(text.str.replace_all(r"\n+", "\n"))


@step("gopher_repetition")
class GopherRepetition(Filter):
    """Drops texts that repeat themselves. Shares of characters are of the whole text."""

    class Config(TextConfig):
        max_paragraphs: float = Field(0.30, description="Share of paragraphs that are there a second time.")
        max_paragraph_chars: float = Field(0.20, description="Share of characters in them.")
        max_lines: float = Field(0.30, description="The same of lines.")
        max_line_chars: float = Field(0.20, description="The same of lines.")
        top_ngrams: dict[int, float] = Field({2: 0.20, 3: 0.18, 4: 0.16}, description="Words of the n-gram: the most characters.")
        repeated_ngrams: dict[int, float] = Field(
            {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}, description="The same, of those repeated."
        )

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        """A text that broke a rule is not measured further: NaN."""
        text = rows.text(self.column)
        chars = np.maximum(text.str.len_chars().to_numpy(), 1)
        limits = {rule.signal: float(rule.at_most or 0) for rule in self.rules}
        found: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        alive = np.ones(len(rows), dtype=bool)

        def measured(signal: str, value: np.ndarray[Any, np.dtype[np.float64]]) -> None:
            found[signal] = np.where(alive, value, np.nan)
            np.logical_and(alive, value <= limits[signal], out=alive)

        for name, parts in (("paragraph", _paragraphs(text)), ("line", _runs_of_lines(text))):
            again = parts.repeats()
            measured(f"repeated_{name}s", parts.sums(again) / np.maximum(parts.counts, 1))
            measured(f"repeated_{name}_chars", parts.sums(parts.texts.str.len_chars().to_numpy() * again) / chars)
        words = rows.derived(words_of, self.column)
        for size, places, hashes in windows(words, sorted({*self.config.top_ngrams, *self.config.repeated_ngrams}), alive):
            if size in self.config.top_ngrams:
                measured(f"top_{size}_gram_chars", most_frequent(words, size, places, hashes) / chars)
            if size in self.config.repeated_ngrams:
                measured(f"repeated_{size}_gram_chars", covered(words, size, places, hashes) / chars)
        return found

    @property
    def rules(self) -> Sequence[Rule]:
        c = self.config
        return (
            Rule(signal="repeated_paragraphs", at_most=c.max_paragraphs),
            Rule(signal="repeated_paragraph_chars", at_most=c.max_paragraph_chars),
            Rule(signal="repeated_lines", at_most=c.max_lines),
            Rule(signal="repeated_line_chars", at_most=c.max_line_chars),
            *(Rule(signal=f"top_{size}_gram_chars", at_most=most) for size, most in sorted(c.top_ngrams.items())),
            *(Rule(signal=f"repeated_{size}_gram_chars", at_most=most) for size, most in sorted(c.repeated_ngrams.items())),
        )
