"""What several filters want to know of the same texts, found once for a batch: `rows.derived(Measured, column).words.count`."""

from __future__ import annotations

from functools import cached_property

import polars as pl

from llmos.data.steps.characters import Characters, Lines, characters, lines
from llmos.data.steps.spaced_words import SpacedWords, lower_words, spaced_words


class Measured:
    """Of a column of texts. Each part is computed when it is first asked for."""

    def __init__(self, text: pl.Series) -> None:
        self.text = text

    @cached_property
    def characters(self) -> Characters:
        return characters(self.text)

    @cached_property
    def lines(self) -> Lines:
        return lines(self.characters)

    @cached_property
    def words(self) -> SpacedWords:
        return spaced_words(self.characters)

    @cached_property
    def lower_words(self) -> SpacedWords:
        """The words in lower case, character by character (a character whose lower case is two stays as it is)."""
        return lower_words(self.words)
