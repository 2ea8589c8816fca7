"""Small letters."""

from __future__ import annotations

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("lowercase")
class Lowercase(Mapper):
    """Every letter in lower case, by Unicode's mapping."""

    config: TextConfig
    Config = TextConfig

    def map(self, rows: Rows) -> Mapped:
        return Mapped(columns={self.column: rows.text(self.column).str.to_lowercase()})
