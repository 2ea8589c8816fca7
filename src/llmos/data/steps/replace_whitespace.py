"""Every kind of white space as a plain space."""

from __future__ import annotations

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("replace_whitespace")
class ReplaceWhitespace(Mapper):
    """Each horizontal white space of Unicode, each zero-width space or joiner becomes one space, one for one, and the text is stripped.
    Line ends stay. `normalise_whitespace` folds runs too. Data-Juicer: whitespace_normalization_mapper."""

    config: TextConfig
    Config = TextConfig

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column).str.replace_all(r"[^\S\n ]|[\u200b-\u200d\u2060\ufeff\ufffc\u0084]", " ")
        return Mapped(columns={self.column: texts.str.strip_chars()})
