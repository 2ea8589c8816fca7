"""The quality heuristics of Gopher.

Source of signals and thresholds: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
appendix A.1.1 (https://arxiv.org/abs/2112.11446), with words and symbols counted as in the FineWeb pipeline (Penedo et al. 2024,
https://arxiv.org/abs/2406.17557).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from llmos.data.base import Filter, Rows, Rule, TextConfig, Values, step
from llmos.data.lines import lines_of
from llmos.data.words import words_of

_SYMBOL = r"^[\p{P}\p{Cc}+=~^|<>´`$\p{Nd}&&[^0-9\p{L}]]+$"
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


@step("gopher_quality")
class GopherQuality(Filter):
    """Keeps texts that look like prose: enough words of ordinary length, few symbols, bullets and cut-off lines, words with letters in
    them, and some of the commonest English words."""

    class Config(TextConfig):
        min_words: int = Field(50, ge=0, description="Words with more than punctuation in them.")
        max_words: int = Field(100_000, ge=1)
        min_mean_chars: float = Field(3.0, description="Mean length of those words.")
        max_mean_chars: float = 10.0
        max_hash_ratio: float = Field(0.1, description="Signs # per word.")
        max_ellipsis_ratio: float = Field(0.1, description="Ellipses per word.")
        max_bullet_lines: float = Field(0.9, description="Share of lines that begin with a bullet.")
        max_ellipsis_lines: float = Field(0.3, description="Share of lines that end in an ellipsis.")
        min_alpha_words: float = Field(0.8, description="Share of words (punctuation counts as words) with a letter in them.")
        min_stop_words: int = Field(2, ge=0, description="Different ones of `stop_words` in the text.")
        stop_words: tuple[str, ...] = STOP_WORDS

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        text = rows.text(self.column)
        words = rows.derived(words_of, self.column)
        total = np.maximum(words.counts, 1)
        real = ~words.matching(_SYMBOL)
        num_real = words.sums(real)
        ellipses = text.str.count_matches("...", literal=True) + text.str.count_matches("…", literal=True)
        lines = rows.derived(lines_of, self.column)
        num_lines = np.maximum(lines.counts, 1)
        return {
            "words": num_real,
            "mean_word_chars": np.divide(
                words.sums(words.chars * real), num_real, out=np.full(len(rows), np.nan), where=num_real > 0
            ),
            "hash_ratio": text.str.count_matches("#", literal=True).to_numpy() / total,
            "ellipsis_ratio": ellipses.to_numpy() / total,
            "bullet_lines": lines.sums(lines.texts.str.contains(r"^\s*[•-]").to_numpy()) / num_lines,
            "ellipsis_lines": lines.sums(lines.texts.str.contains(r"(?:\.\.\.|…)\s*$").to_numpy()) / num_lines,
            "alpha_words": words.sums(words.matching(r"\p{L}")) / total,
            "stop_words": self._stop_words(rows),
        }

    def _stop_words(self, rows: Rows) -> Values:
        words = rows.derived(words_of, self.column)
        found = np.zeros(len(rows), dtype=np.int64)
        for one in self.config.stop_words:
            found += words.sums((words.texts == one).to_numpy()) > 0
        return found

    @property
    def rules(self) -> Sequence[Rule]:
        c = self.config
        return (
            Rule(signal="words", at_least=c.min_words, at_most=c.max_words),
            Rule(signal="mean_word_chars", at_least=c.min_mean_chars, at_most=c.max_mean_chars),
            Rule(signal="hash_ratio", at_most=c.max_hash_ratio),
            Rule(signal="ellipsis_ratio", at_most=c.max_ellipsis_ratio),
            Rule(signal="bullet_lines", at_most=c.max_bullet_lines),
            Rule(signal="ellipsis_lines", at_most=c.max_ellipsis_lines),
            Rule(signal="alpha_words", at_least=c.min_alpha_words),
            Rule(signal="stop_words", at_least=c.min_stop_words),
        )
