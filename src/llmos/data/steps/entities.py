"""Names of people, places and organisations, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from pydantic import Field

from llmos.data.base import step
from llmos.data.steps.analysed import AnalysedConfig, AnalysedStep

ENTITY = pl.Struct({"text": pl.String, "kind": pl.String, "start": pl.Int64, "end": pl.Int64})


@step("entities")
class Entities(AnalysedStep):
    """Adds a list of the named entities of each text: text, kind (PERSON, PLACE, ORGANISATION, TIME, or the analyser's own), and where it
    starts and ends in characters. Chinese by LAC, English by spaCy (extra `spacy`); null in languages whose entities nobody finds."""

    class Config(AnalysedConfig):
        entities_column: str = Field("entities", min_length=1, description="Column for them.")

    config: Config

    def columns(self, texts: Sequence[str]) -> Mapping[str, pl.Series]:
        found = [
            [{"text": one.text, "kind": one.label, "start": one.start, "end": one.end} for one in each]
            if each is not None
            else None
            for each in self.tools.entities(texts, **self.asked)
        ]
        return {self.config.entities_column: pl.Series(found, dtype=pl.List(ENTITY))}
