"""Exact duplicates of whole documents, or of any column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Rows, step
from llmos.data.dedup import Dedup, DedupConfig
from llmos.data.words import mixed


@step("exact_dedup")
class ExactDedup(Dedup):
    """Keeps one of all rows with the same text. Texts are compared by 64 bits of a hash: of a million different ones, two are taken for
    equal with a probability of 3 in 100 million. Empty texts have no duplicates."""

    class Config(DedupConfig):
        ignore_case: bool = False
        ignore_space: bool = Field(False, description="White space makes no difference.")
        ignore_punctuation: bool = Field(False, description="Only letters and digits make a difference.")
        ignore_digits: bool = Field(False, description="Digits make no difference.")
        ignore_ends: bool = Field(False, description="White space at the beginning and the end makes no difference.")

    config: Config

    def keys(self) -> Sequence[str]:
        return ["hash"]

    def key_columns(self, rows: Rows) -> dict[str, Any]:
        text = self.compared(rows.text(self.column))
        return {"hash": mixed(text.hash(0).to_numpy() ^ np.uint64(1)), "empty": (text.str.len_bytes() == 0).to_numpy()}

    def compared(self, text: pl.Series) -> pl.Series:
        """What of the text makes the difference."""
        text = text.str.to_lowercase() if self.config.ignore_case else text
        text = text.str.replace_all(r"[^\p{L}\p{M}\p{N}]+", "") if self.config.ignore_punctuation else text
        text = text.str.replace_all(r"\d+", "") if self.config.ignore_digits else text
        text = text.str.strip_chars() if self.config.ignore_ends else text
        return text.str.replace_all(r"\s+", "") if self.config.ignore_space else text
