"""Tables that were written with spaces."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("remove_tables")
class RemoveTables(Mapper):
    """Deletes runs of two or more lines of equally many cells, cells being parted by one space, tab or |. It cannot tell a table from
    verse whose lines have equally many words: for web text take `min_col` of 3 or more with care. The first line of a text is never
    part of one. Data-Juicer: remove_table_text_mapper, same defaults and rule."""

    class Config(TextConfig):
        min_col: int = Field(2, ge=2, le=20, description="Least number of columns of a table.")
        max_col: int = Field(20, ge=2, le=20, description="Largest number of columns of a table.")

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.min_col > self.max_col:
                raise ValueError(f"min_col is {self.min_col}, more than max_col, {self.max_col}")
            return self

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        for cuts in range(self.config.min_col - 1, self.config.max_col):
            texts = texts.str.replace_all(rf"\n(?:(?:\S+?(?:[ |\t]\S+?){{{cuts}}}\n+){{2,}})", "\n")
        return Mapped(columns={self.column: texts})
