"""Characters that cannot be seen and do not belong in a text."""

from __future__ import annotations

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # Cc but tab, line feed and carriage return
_INVISIBLE = r"\u00ad\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb"  # soft hyphen, zero-width, interlinear
_JOINERS = r"\u200c\u200d"
_BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # UAX 9; the means of "Trojan Source" (CVE-2021-42574)
_TAGS = r"\U000e0000-\U000e007f"  # invisible copies of ASCII, used to hide instructions from readers


@step("remove_control")
class RemoveControl(Mapper):
    """Deletes control characters, zero-width characters, bidirectional controls and tag characters. Tab and line ends stay; joiners
    stay unless asked, since Persian, Hindi and emoji are written with them."""

    class Config(TextConfig):
        joiners: bool = Field(False, description="Delete zero-width joiners and non-joiners too.")
        bidi: bool = Field(True, description="Delete bidirectional controls; Arabic and Hebrew can be read without.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        unwanted = _CONTROL + _INVISIBLE + _TAGS + (_JOINERS if self.config.joiners else "") + (_BIDI if self.config.bidi else "")
        return Mapped(columns={self.column: rows.text(self.column).str.replace_all(f"[{unwanted}]", "")})
