"""Words of a length that no word has: base64, broken markup, glued text."""

from __future__ import annotations

import re

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

EDGES = re.compile(r"\A[\W\d_]+|[\W\d_]+\Z")  # a word's letters are between them
_WORD = re.compile(r"(?m)^[^ \t\n]+[ \t]*|[ \t]*[^ \t\n]+")


@step("remove_long_words")
class RemoveLongWords(Mapper):
    """Deletes words (between blanks) longer than `max_len` or shorter than `min_len` characters, with the blank before them. A long word
    stays when what is left without signs and digits around it is not too long. Data-Juicer: remove_long_words_mapper, which also folds
    all blanks."""

    class Config(TextConfig):
        min_len: int = Field(1, ge=1, description="Characters of the shortest word that stays.")
        max_len: int = Field(2**63 - 1, ge=1, description="Characters of the longest word that stays.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        longest = min(self.config.max_len, 2**32 - 1)
        some = (texts.str.len_chars() > longest) & texts.str.contains(rf"[^ \t\n]{{{min(longest, 1000)},}}[^ \t\n]")
        if self.config.min_len > 1:
            some |= texts.str.contains(r"\S")
        where = some.arg_true()
        if not len(where):
            return Mapped(columns={self.column: texts})
        cut = [_WORD.sub(self._kept, one) for one in texts.gather(where).to_list()]
        return Mapped(columns={self.column: texts.clone().scatter(where, pl.Series(cut, dtype=pl.String))})

    def _kept(self, found: re.Match[str]) -> str:
        word = found[0].strip(" \t")
        if len(word) > self.config.max_len:
            word = EDGES.sub("", word)
        return found[0] if self.config.min_len <= len(word) <= self.config.max_len else ""
