"""Traditional and simplified Chinese."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.errors import MissingExtra

Mode = Literal["s2t", "t2s", "s2tw", "tw2s", "s2hk", "hk2s", "s2twp", "tw2sp", "t2tw", "tw2t", "hk2t", "t2hk", "t2jp", "jp2t"]


@step("chinese_convert")
class ChineseConvert(Mapper):
    """Converts with OpenCC, by words: s simplified, t traditional, tw Taiwan, hk Hong Kong, jp Japanese, p with the region's words.
    Data-Juicer: chinese_convert_mapper, same default."""

    class Config(TextConfig):
        mode: Mode = Field("s2t", description="From and to: s2t, t2s, s2tw, tw2s, s2hk, hk2s, s2twp, tw2sp, t2tw …")

    config: Config

    def prepare(self) -> None:
        try:
            from opencc import OpenCC
        except ImportError:
            raise MissingExtra("data", needed_for="The step chinese_convert") from None
        self._converter: Any = OpenCC(self.config.mode)

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        han = texts.str.contains(r"\p{Han}").arg_true()
        if not len(han):
            return Mapped(columns={self.column: texts})
        converted = [self._converter.convert(one) for one in texts.gather(han).to_list()]
        return Mapped(columns={self.column: texts.clone().scatter(han, pl.Series(converted, dtype=pl.String))})
