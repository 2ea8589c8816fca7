"""Share of stop words: sentences have them, key word lists, tables and code do not."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.characters import Kind
from llmos.data.steps.function_words import CHINESE, ENGLISH
from llmos.data.steps.measured import measured
from llmos.data.steps.ranged import Ranged
from llmos.data.steps.word_lists import ListConfig
from llmos.errors import InvalidValue


@step("stopwords_ratio")
class StopwordsRatio(Ranged):
    """Keeps texts whose share of stop words among their lower-case words (spaced_words.py) is in range. Default: at least 0.3,
    Data-Juicer's `stopwords_filter`, set for its longer list.

    Without `words` and `file` the built-in lists of function_words.py are used, for `language: en` and `zh`. Built-in Chinese
    is by characters, as there are no spaces: the share of ideographs that are function characters. Measured (5 %, median): reviews
    0.13, 0.28, the People's Daily 0.07, 0.17, so that 0.05 is a careful minimum there."""

    disk = ("file",)

    class Config(ListConfig):
        min_ratio: float = Field(0.3, ge=0, description="The lowest share that is kept.")

    config: Config
    signal = "stopwords_ratio"

    def prepare(self) -> None:
        self.listed = self.config.read()
        self.by_character = not self.listed and self.config.language == "zh"
        if not self.listed and not self.by_character:
            if self.config.language != "en":
                raise InvalidValue(
                    f"There is no built-in list of stop words for {self.config.language!r}; there is one for en and zh.",
                    param="language",
                    hint="Give words or file.",
                )
            self.listed = ENGLISH

    def measure(self, rows: Rows) -> Values:
        if self.by_character:
            made = measured(rows, self.column).characters
            found = made.total(made.marked("".join(CHINESE)))
            return found / np.maximum(made.count(Kind.CJK), 1)
        words = measured(rows, self.column).lower_words
        return words.count_in(self.listed) / np.maximum(words.count, 1)
