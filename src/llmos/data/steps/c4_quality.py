"""The line and document heuristics of C4.

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.2
(https://arxiv.org/abs/1910.10683): lines must have enough words and no "javascript" or policy text, pages must have enough sentences and
no curly bracket or "lorem ipsum". The demand that lines end in a punctuation mark is off unless asked for, as in FineWeb.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.data.lines import joined, lines_of

_CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"
_POLICY = ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"]
# What ends a sentence inside a line: a mark, closing marks, space. Initials and abbreviations with dots inside do not.
_SENTENCE = r"[.!?。！？][\p{P}]*\s+[^\s\p{P}]"
_ABBREVIATED = (
    r"(?:^|[\s(\[“\"'])(?:\p{L}\.|(?:\p{L}\.){2,}|Mr\.|Mrs\.|Ms\.|Dr\.|Prof\.|St\.|Jr\.|vs\.|Inc\.|Ltd\.|Co\.)\s+[^\s\p{P}]"
)
REASONS = ("lorem_ipsum", "curly_bracket", "sentences")


@step("c4_quality")
class C4Quality(Mapper):
    """Removes lines that are no sentences (and citation marks such as [12]), then drops texts with code, filler or too little left."""

    class Config(TextConfig):
        min_words_per_line: int = Field(3, ge=0)
        max_word_chars: int = Field(1000, ge=1)
        min_sentences: int = Field(5, ge=0, description="That the text must have after its lines were removed.")
        terminal_punctuation: bool = Field(False, description="Remove lines that do not end in . ? ! \" or '.")
        remove_citations: bool = True
        remove_javascript: bool = Field(True, description="Remove lines that mention it.")
        remove_policy: bool = Field(True, description="Remove lines about cookies, terms of use and privacy.")
        drop_lorem_ipsum: bool = True
        drop_curly_bracket: bool = True

    config: Config

    def map(self, rows: Rows) -> Mapped:
        c, text = self.config, rows.text(self.column)
        lines = lines_of(text)
        frame = pl.DataFrame({"owner": lines.owner, "line": lines.texts.str.strip_chars()})
        words = pl.col("line").str.count_matches(r"\S+")
        frame = frame.filter(words >= c.min_words_per_line)
        long = rf"\S{{{c.max_word_chars + 1},}}" if c.max_word_chars < 1000 else None
        too_long = self._too_long(frame.get_column("line"), long)
        frame = frame.filter(~too_long) if too_long is not None else frame
        if c.remove_citations:
            frame = frame.with_columns(pl.col("line").str.replace_all(_CITATION, ""))
        if c.terminal_punctuation:
            frame = frame.filter(pl.col("line").str.contains(r"[.?!\"']$") & ~pl.col("line").str.ends_with("..."))
        lower = frame.get_column("line").str.to_lowercase()
        lorem = lower.str.contains("lorem ipsum", literal=True) if c.drop_lorem_ipsum else pl.repeat(False, len(lower), eager=True)
        good = ~lower.str.contains("javascript", literal=True) if c.remove_javascript else pl.repeat(True, len(lower), eager=True)
        curly = (
            good & frame.get_column("line").str.contains("{", literal=True)
            if c.drop_curly_bracket
            else pl.repeat(False, len(lower), eager=True)
        )
        good = good & ~lower.str.contains_any(_POLICY) if c.remove_policy else good
        return self._made(text, frame, good, lorem, curly)

    def _too_long(self, lines: pl.Series, pattern: str | None) -> pl.Series | None:
        """Lines with a word of more than `max_word_chars`; None when there is none. A long word needs a long line."""
        long = lines.str.len_bytes() > self.config.max_word_chars
        if not long.any():
            return None
        most = pl.element().str.len_chars().max()
        return long & (lines.str.extract_all(r"\S+").list.eval(most).list.first() > self.config.max_word_chars)

    def _made(self, text: pl.Series, frame: pl.DataFrame, good: pl.Series, lorem: pl.Series, curly: pl.Series) -> Mapped:
        num, owner = len(text), frame.get_column("owner").to_numpy()

        def count(of_line: pl.Series) -> np.ndarray[Any, Any]:
            return np.bincount(owner, weights=of_line.cast(pl.Float64).to_numpy(), minlength=num)

        kept = frame.filter(good)
        lines = kept.get_column("line")
        sentences = lines.str.count_matches(_SENTENCE) - lines.str.count_matches(_ABBREVIATED) + 1
        num_sentences = np.bincount(kept.get_column("owner").to_numpy(), weights=sentences.clip(1).to_numpy(), minlength=num)
        drop = np.select([count(lorem) > 0, count(curly) > 0, num_sentences < self.config.min_sentences], [1, 2, 3], 0)
        made = joined(lines, kept.get_column("owner").to_numpy(), num).str.strip_chars()
        reason = pl.Series(np.array(["", *REASONS])[drop])
        return Mapped(
            columns={self.column: made}, drop=drop > 0, reason=reason,
            drop_value=np.where(drop == 3, num_sentences, 1.0), threshold=np.where(drop == 3, float(self.config.min_sentences), 0.0),
        )  # fmt: skip
