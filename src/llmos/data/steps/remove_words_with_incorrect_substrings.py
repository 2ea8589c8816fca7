"""Words that are no words: pieces of addresses and of markup."""

from __future__ import annotations

import re

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("remove_words_with_incorrect_substrings")
class RemoveWordsWithIncorrectSubstrings(Mapper):
    """Deletes words (between blanks) with one of the substrings in them, not counting signs and digits around the word, with the blank
    before them. Data-Juicer: remove_words_with_incorrect_substrings_mapper, same default; it also folds all blanks."""

    class Config(TextConfig):
        substrings: tuple[str, ...] = Field(
            ("http", "www", ".com", "href", "//"), min_length=1, description="What no word may hold."
        )

    config: Config

    def prepare(self) -> None:
        word = "(?:" + "|".join(_around(one) for one in self.config.substrings) + r")[^ \t\n]*"
        self._word = rf"(?m)^{word}[ \t]*|[ \t]*{word}"

    def map(self, rows: Rows) -> Mapped:
        return Mapped(columns={self.column: rows.text(self.column).str.replace_all(self._word, "")})


def _around(substring: str) -> str:
    """A word as far as the substring: a sign at its edge counts only where letters stand on that side of it too."""
    first = "" if substring[0].isalpha() else r"\p{L}[^ \t\n]*?"
    last = "" if substring[-1].isalpha() else r"[^ \t\n]*\p{L}"
    return rf"[^ \t\n]*?{first}{re.escape(substring)}{last}"
