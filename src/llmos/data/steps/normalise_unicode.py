"""One form for characters that Unicode can write in several ways."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step


@step("normalise_unicode")
class NormaliseUnicode(Mapper):
    """Unicode Standard Annex 15. NFC composes and changes no meaning; NFKC also makes ﬁ into fi, ① into 1, Ａ into A."""

    class Config(TextConfig):
        form: Literal["NFC", "NFKC", "NFD", "NFKD"] = Field("NFC", description="The normal form.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        plain = texts.str.len_bytes() == texts.str.len_chars()
        if plain.all():  # ASCII is in every normal form
            return Mapped(columns={self.column: texts})
        return Mapped(columns={self.column: texts.str.normalize(self.config.form)})
