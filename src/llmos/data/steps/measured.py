"""What several filters want to know of the same texts, found once for a batch: `measured(rows, column).words.count`."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl

from llmos.data.base import Rows
from llmos.data.steps.characters import Characters, Lines, Truths, characters, lines
from llmos.data.steps.spaced_words import SpacedWords, lower_words, spaced_words


def measured(rows: Rows, column: str) -> Measured:
    """Of a column of texts."""
    found = rows.derived(Measured, column)
    found.alive = rows.alive
    return found


class Measured:
    """Each part is computed when it is first asked for; of rows that are left of a batch, what was computed of the batch is cut. alive:
    the texts that matter; the others have no words."""

    def __init__(self, text: pl.Series, whole: tuple[Measured, Truths] | None = None) -> None:
        self.text = text
        self.alive = np.ones(len(text), dtype=bool)
        self._whole = whole

    def filter(self, mask: Truths) -> Measured:
        """Of the texts where the mask is true."""
        return Measured(self.text.filter(pl.Series(mask)), (self, mask))

    @cached_property
    def characters(self) -> Characters:
        return self._cut("characters") or characters(self.text)

    @cached_property
    def lower(self) -> Characters:
        """In lower case, character by character (a character whose lower case is two stays as it is)."""
        return self._cut("lower") or self.characters.lower()

    @cached_property
    def lines(self) -> Lines:
        return lines(self.characters)

    @cached_property
    def words(self) -> SpacedWords:
        return spaced_words(self.characters, self.alive)

    @cached_property
    def lower_words(self) -> SpacedWords:
        return lower_words(self.words, self.lower, self.alive)

    def _cut(self, name: str) -> Characters | None:
        if self._whole is None or name not in self._whole[0].__dict__:
            return None
        of_whole: Characters = self._whole[0].__dict__[name]
        return of_whole.select(self._whole[1])
