"""Lines that a text has twice: page headers, menus, signatures."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("remove_repeated_lines")
class RemoveRepeatedLines(Mapper):
    """Keeps the first of equal lines of a text, blanks around them aside; blank and short lines stay."""

    class Config(TextConfig):
        min_chars: int = Field(1, ge=1, description="Characters below which a line may be there more than once.")
        ignore_case: bool = Field(False, description="Upper and lower case make no difference.")
        ignore_digits: bool = Field(False, description="Digits make no difference: Page 3 is Page 4.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        lines = pl.DataFrame({"row": pl.Series(range(len(texts)), dtype=pl.UInt32), "line": texts.str.split("\n")}).explode("line")
        same = pl.col("line").str.strip_chars()
        same = same.str.to_lowercase() if self.config.ignore_case else same
        same = same.str.replace_all(r"\d+", "0") if self.config.ignore_digits else same
        keep = pl.struct("row", same.alias("same")).is_first_distinct() | (same.str.len_chars() < self.config.min_chars)
        kept = lines.select("row", "line", keep=keep | (same == ""))
        if kept.get_column("keep").all():
            return Mapped(columns={self.column: texts})
        joined = kept.filter("keep").group_by("row", maintain_order=True).agg(pl.col("line").str.join("\n"))
        return Mapped(columns={self.column: joined.sort("row").get_column("line")})
