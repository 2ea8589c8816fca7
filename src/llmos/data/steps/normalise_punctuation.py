"""One way to write quotes, dashes and other marks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

# After CCNet's table (Wenzek et al. 2020, https://arxiv.org/abs/1911.00359), which BigScience and Data-Juicer took over; a full-width 1,
# which is a quote there by mistake, is 1 here.
_WESTERN = {
    "„": '"', "”": '"', "“": '"', "«": '"', "»": '"', "´": "'", "’": "'", "‘": "'", "–": "-", "—": " - ", "…": "...", "━": "-", "►": "-",
    "∶": ":",
}  # fmt: skip
_CHINESE = {
    "，": ",", "。": ".", "、": ",", "」": '"', "「": '"', "《": '"', "》": '"', "：": ":", "？": "?", "！": "!", "（": "(", "）": ")",
    "；": ";", "．": ". ", "～": "~", "〈": "<", "〉": ">", "【": "[", "】": "]", "％": "%", "１": "1",
}  # fmt: skip
_HAN = r"\p{Han}"
_TO_CHINESE = {",": "，", ".": "。", ":": "：", ";": "；", "?": "？", "!": "！"}


@step("normalise_punctuation")
class NormalisePunctuation(Mapper):
    """Typographic marks become their ASCII equivalents. chinese: what becomes of Chinese marks: `ascii` (Data-Juicer:
    punctuation_normalization_mapper), `keep`, or `full_width`: kept, Western curly quotes between Han characters too, and , . : ; ? !
    right after a Han character become ，。：；？！."""

    class Config(TextConfig):
        chinese: Literal["ascii", "keep", "full_width"] = Field("ascii", description="Chinese marks: ascii, keep or full_width.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        if self.config.chinese == "full_width":
            for plain, wide in _TO_CHINESE.items():
                texts = texts.str.replace_all(rf"({_HAN}[”’」』》）]?)[{plain}](\s*$|[^0-9A-Za-z.]|$)", f"${{1}}{wide}$2")
            return Mapped(columns={self.column: texts})
        table = _WESTERN | (_CHINESE if self.config.chinese == "ascii" else {})
        return Mapped(columns={self.column: texts.str.replace_many(table)})
