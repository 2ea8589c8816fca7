"""Texts as their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field

from llmos.data.base import step
from llmos.data.steps.analysed import AnalysedConfig, AnalysedStep


@step("segment")
class Segment(AnalysedStep):
    """Adds a column with the words of each text: a list, or one text with spaces between them, as tools that know no Chinese want it.
    Chinese is cut by LAC (jieba is twenty times as quick), English and what no analyser reads by rule."""

    class Config(AnalysedConfig):
        words_column: str = Field("words", min_length=1, description="Column for them.")
        made: Literal["list", "text"] = Field("list", description="A list of words, or a text with spaces between them.")

    config: Config

    def columns(self, texts: Sequence[str]) -> Mapping[str, pl.Series]:
        words = self.tools.words(texts, **self.asked)
        if self.config.made == "text":
            return {self.config.words_column: pl.Series([" ".join(each) for each in words], dtype=pl.String)}
        return {self.config.words_column: pl.Series(words, dtype=pl.List(pl.String))}
