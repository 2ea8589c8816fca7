"""Chinese characters only."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("remove_non_chinese_characters")
class RemoveNonChineseCharacters(Mapper):
    """Keeps U+4E00 to U+9FA5 and, when asked, Latin letters, digits and common marks; line ends go too. Data-Juicer:
    remove_non_chinese_character_mapper, same defaults."""

    class Config(TextConfig):
        keep_alphabet: bool = Field(True, description="Keep A-Z and a-z.")
        keep_number: bool = Field(True, description="Keep 0-9.")
        keep_punc: bool = Field(True, description="Keep common Western and Chinese punctuation and the space.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        kept = "一-龥" + "A-Za-z" * self.config.keep_alphabet + "0-9" * self.config.keep_number
        kept += r".， ,\-。%《*》/•、\&＆(—)（+）：？!！“”·" if self.config.keep_punc else ""
        return Mapped(columns={self.column: rows.text(self.column).str.replace_all(f"[^{kept}]+", "")})
