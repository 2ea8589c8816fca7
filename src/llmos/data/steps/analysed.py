"""What the steps over the language tools (text/nlp) share: their parameters, and analysers that are opened once in a process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import polars as pl
from pydantic import Field, field_validator

from llmos.data.base import Mapped, Mapper, Rows, TextConfig
from llmos.settings import Settings
from llmos.text.languages import language as known_language
from llmos.text.nlp import LanguageTools

CHUNK_CHARS = 1 << 20  # of text that is analysed at a time; an analysis takes about a hundred times as much memory


class AnalysedConfig(TextConfig):
    language: str = Field("", description="Language of all texts (en, zh …); empty: it is identified for each.")
    analyser: str = Field("", description="For all texts: english, lac, jieba, spacy, plain; empty: that of the text's language.")

    @field_validator("language")
    @classmethod
    def _language(cls, given: str) -> str:
        return known_language(given).code if given else given


class AnalysedStep(Mapper):
    """Files of analysers are fetched, and missing libraries told, before rows are read where the parameters say which analyser it is;
    else when the first text needs it."""

    config: AnalysedConfig

    def prepare(self) -> None:
        self.tools = tools_of(self.context.settings)
        self.columns([""])

    @abstractmethod
    def columns(self, texts: Sequence[str]) -> Mapping[str, pl.Series]:
        """The new columns of these texts."""

    @property
    def asked(self) -> dict[str, str]:
        return {"language": self.config.language, "analyser": self.config.analyser}

    def map(self, rows: Rows) -> Mapped:
        made = [self.columns(texts) for texts in _chunks(rows.text(self.column).to_list())]
        return Mapped(columns={name: pl.concat([part[name] for part in made]) for name in made[0]})


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """At least one."""
    first, size = 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= CHUNK_CHARS:
            yield texts[first : place + 1]
            first, size = place + 1, 0
    yield texts[first:]


@lru_cache(maxsize=2)
def tools_of(settings: Settings) -> LanguageTools:
    return LanguageTools(settings)
