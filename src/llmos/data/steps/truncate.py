"""Long texts cut off; the ledger says which and by how much."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("truncate")
class Truncate(Mapper):
    """Keeps the first `max_chars` characters (Unicode code points). Each text it cuts is in the ledger as changed, with the characters
    it lost. `chunk` keeps the rest."""

    class Config(TextConfig):
        max_chars: int = Field(ge=1, description="Characters that stay.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        return Mapped(columns={self.column: rows.text(self.column).str.slice(0, self.config.max_chars)})
