"""Words with their parts of speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from pydantic import Field

from llmos.data.base import step
from llmos.data.steps.analysed import AnalysedConfig, AnalysedStep

LIST = pl.List(pl.String)


@step("tag_words")
class TagWords(AnalysedStep):
    """Adds the words of each text, their Universal POS (https://universaldependencies.org/u/pos/) and the analyser's own tags: three
    lists of one length. Tags are null for a text in a language that no analyser tags."""

    class Config(AnalysedConfig):
        words_column: str = Field("words", min_length=1, description="Column for the words.")
        pos_column: str = Field("upos", min_length=1, description="Column for the Universal POS tags.")
        native_column: str = Field("native", min_length=1, description="Column for the analyser's own tags.")

    config: Config

    def prepare(self) -> None:
        super().prepare()
        if self.config.analyser:
            self.tools.load(self.config.analyser).require("pos")

    def columns(self, texts: Sequence[str]) -> Mapping[str, pl.Series]:
        found = self.tools.analyse(texts, **self.asked)
        tagged = ["pos" in self.tools.load(one.analyser).gives for one in found]
        return {
            self.config.words_column: pl.Series([one.word_texts() for one in found], dtype=LIST),
            self.config.pos_column: pl.Series(
                [one.pos if tag else None for one, tag in zip(found, tagged, strict=True)], dtype=LIST
            ),
            self.config.native_column: pl.Series(
                [one.native if tag else None for one, tag in zip(found, tagged, strict=True)], dtype=LIST
            ),
        }
