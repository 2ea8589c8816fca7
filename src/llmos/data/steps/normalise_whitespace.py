"""White space: one kind of it, no runs, no trailing."""

from __future__ import annotations

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("normalise_whitespace")
class NormaliseWhitespace(Mapper):
    """Turns every kind of horizontal white space of Unicode into one space, line ends into \\n, and strips lines and the text. More
    than `max_blank_lines` blank lines in a row become that many."""

    class Config(TextConfig):
        max_blank_lines: int = 1

    config: Config

    def map(self, rows: Rows) -> Mapped:
        text = rows.text(self.column).str.replace_all(r"\r\n?", "\n").str.replace_all(r"[^\S\n]+", " ")
        text = text.str.replace_all(r" ?\n ?", "\n")
        most = self.config.max_blank_lines
        text = text.str.replace_all(rf"\n{{{most + 2},}}", "\n" * (most + 1)).str.strip_chars(" \n")
        return Mapped(columns={self.column: text})
