"""Length of the text in characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from llmos.data.base import Filter, Rows, Rule, TextConfig, Values, step


@step("text_length")
class TextLength(Filter):
    """Keeps texts of min_chars to max_chars characters (Unicode code points)."""

    class Config(TextConfig):
        min_chars: int = Field(1, ge=0)
        max_chars: int | None = Field(None, ge=0)

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        return {"chars": rows.text(self.column).str.len_chars()}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="chars", at_least=self.config.min_chars, at_most=self.config.max_chars),)
