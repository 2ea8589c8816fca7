"""Single characters out of a text."""

from __future__ import annotations

import re

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("remove_specific_chars")
class RemoveSpecificChars(Mapper):
    """Deletes every one of these characters. Data-Juicer: remove_specific_chars_mapper, same default."""

    class Config(TextConfig):
        chars_to_remove: str | tuple[str, ...] = Field("◆●■►▼▲▴∆▻▷❖♡□", description="The characters, as one text or a list.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        chars = re.escape("".join(self.config.chars_to_remove))
        return Mapped(columns={self.column: texts.str.replace_all(f"[{chars}]", "") if chars else texts})
