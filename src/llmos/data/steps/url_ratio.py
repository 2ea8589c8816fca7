"""Share of web addresses: link lists and navigation have many."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.ranged import Ranged, RatioConfig

ADDRESS = r"(?i)\b(?:https?://|ftp://|www\.)[^\s<>\"，。；、）】》]+"


@step("url_ratio")
class UrlRatio(Ranged):
    """Keeps texts whose share of characters in web addresses (http, https, ftp, www.) is in range. Default: at most 0.2, NeMo
    Curator's `UrlsFilter`."""

    class Config(RatioConfig):
        max_ratio: float = Field(0.2, ge=0, description="The highest share that is kept.")

    signal = "url_ratio"

    def measure(self, rows: Rows) -> Values:
        text = rows.text(self.column)
        length = text.str.len_chars()
        rest = text.str.replace_all(ADDRESS, "").str.len_chars()
        return (length - rest).cast(pl.Float64) / length.clip(1)
