"""Which language a text is in, as a column and as a filter; the identifier is text/nlp's (fastText lid.176)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from pydantic import Field

from llmos.data.base import Filter, Mapped, Mapper, Rows, Rule, TextConfig, Values, step
from llmos.text.nlp.identify import LanguageIdentifier, identifier


@dataclass(frozen=True)
class Identified:
    """codes, scores: of each text."""

    codes: pl.Series
    scores: pl.Series


@dataclass(frozen=True)
class Identify:
    """Equal ones are one to `Rows.derived`, so that a batch is identified once for all steps that ask for the same."""

    identifier: LanguageIdentifier
    lowercase: bool = False

    def __call__(self, text: pl.Series) -> Identified:
        found = self.identifier.identify((text.str.to_lowercase() if self.lowercase else text).to_list())
        codes = pl.Series([code for code, _ in found], dtype=pl.String)
        return Identified(codes, pl.Series([score for _, score in found], dtype=pl.Float64))


@step("tag_language")
class TagLanguage(Mapper):
    """Adds the code of the likeliest language (`en`, `zh`; `und` for a text without letters) and its probability, 0 to 1."""

    class Config(TextConfig):
        language_column: str = Field("language", min_length=1, description="Column for the code.")
        score_column: str = Field("language_score", min_length=1, description="Column for the probability.")

    config: Config

    def prepare(self) -> None:
        self.identify = Identify(identifier(self.context.settings))

    def map(self, rows: Rows) -> Mapped:
        found = rows.derived(self.identify, self.column)
        return Mapped(columns={self.config.language_column: found.codes, self.config.score_column: found.scores})


@step("language_is")
class LanguageIs(Filter):
    """Keeps texts in one of the languages, identified with at least that probability. Without languages any will do: what is kept is
    text that is clearly in some language. Default: 0.65, FineWeb (Penedo et al. 2024, arXiv:2406.17557); CCNet has 0.5."""

    class Config(TextConfig):
        languages: tuple[str, ...] = Field((), description="Codes: en, zh, fr ….")
        min_score: float = Field(0.65, ge=0, le=1, description="The lowest probability that is kept.")
        lowercase: bool = Field(False, description="Identifies the text in lower case, as Data-Juicer does.")

    config: Config

    def prepare(self) -> None:
        self.identify = Identify(identifier(self.context.settings), self.config.lowercase)

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        found = rows.derived(self.identify, self.column)
        wanted = found.codes.is_in(list(self.config.languages)) if self.config.languages else pl.repeat(True, len(rows), eager=True)
        return {"language_is": wanted, "language_score": found.scores}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="language_is", at_least=1.0), Rule(signal="language_score", at_least=self.config.min_score))
