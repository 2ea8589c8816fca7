"""Decontamination: rows that share text with evaluation sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Comparer, Rows, Rule, TextConfig, Values, step
from llmos.data.recipe import Source
from llmos.data.words import folded, pieces_of, shingles


@step("decontaminate")
class Decontaminate(Comparer):
    """Drops rows that share an n-gram of words with any row of `against`. 13 words: Brown et al. 2020, "Language Models are Few-Shot
    Learners", appendix C (https://arxiv.org/abs/2005.14165); 8 with a share of 0.7: Chowdhery et al. 2022, PaLM, section 8. Case,
    accents and punctuation make no difference, every number is equal. Rows of fewer than n words share nothing."""

    class Config(TextConfig):
        against: tuple[Source, ...] = Field(min_length=1, description="Sources (path, dataset, …) that must not be in the data.")
        against_columns: tuple[str, ...] = Field((), description="Their columns of text; not set: the column that is checked.")
        ngram: int = Field(13, ge=1)
        max_shared: int = Field(0, ge=0, description="Shared n-grams that are still kept.")
        max_share: float = Field(1.0, ge=0, le=1, description="Share of a row's n-grams that may be shared, whatever their number.")

    config: Config

    def reference(self) -> Sequence[Source]:
        return self.config.against

    def reference_reads(self) -> Sequence[str]:
        return self.config.against_columns or self.reads()

    def sketch(self, rows: Rows) -> pl.DataFrame:
        found = [
            shingles(folded(rows.derived(pieces_of, column)).hashed, self.config.ngram)[0] for column in self.reference_reads()
        ]
        return pl.DataFrame({"gram": np.unique(np.concatenate(found))})

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        known = np.sort(self.known.get_column("gram").to_numpy())
        hashes, offsets = shingles(folded(rows.derived(pieces_of, self.column)).hashed, self.config.ngram)
        at = np.searchsorted(known, hashes)
        shared = known[np.minimum(at, len(known) - 1)] == hashes if len(known) else np.zeros(len(hashes), dtype=bool)
        running = np.concatenate([[0], np.cumsum(shared)])
        num = running[offsets[1:]] - running[offsets[:-1]]
        return {"shared_ngrams": num, "shared_share": num / np.maximum(np.diff(offsets), 1)}

    @property
    def rules(self) -> Sequence[Rule]:
        return (
            Rule(signal="shared_ngrams", at_most=self.config.max_shared),
            Rule(signal="shared_share", at_most=self.config.max_share),
        )
