"""Which language a text is in: fastText's lid.176 (Joulin et al. 2016), 176 languages.

Codes are those of text/languages.py where that names the language, fastText's (ISO 639) otherwise. A text without a letter is "und"
(ISO 639-2, undetermined) with probability 0: the model would guess. It does not tell zh-hant from zh.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, InvalidValue, MissingExtra
from llmos.settings import Settings, current
from llmos.text.nlp.resources import fetch

Guess = tuple[str, float]
UNDETERMINED: Guess = ("und", 0.0)
NUM_LANGUAGES = 176
_LETTER = re.compile(r"[^\W\d_]")
_LINE = re.compile(r"[\x00\r\n\v\f\x85\u2028\u2029]")  # the model reads one line
_MARK = "__label__"


class LanguageIdentifier:
    """Thread-safe. Raises MissingExtra, CorruptFile."""

    def __init__(self, file: Path) -> None:
        try:
            import fasttext
        except ImportError:
            raise MissingExtra("data", needed_for="Language identification") from None
        try:
            self._model: Any = fasttext.load_model(str(file))
        except (ValueError, RuntimeError, MemoryError) as problem:
            raise CorruptFile(f"{file} is no fastText model: {problem}.", hint="Delete its folder; it is fetched anew.") from None

    def identify(self, texts: Sequence[str]) -> list[Guess]:
        """(code, probability) of the likeliest language of each text."""
        return [found[0] for found in self.candidates(texts, 1)]

    def candidates(self, texts: Sequence[str], k: int) -> list[list[Guess]]:
        """The k likeliest, best first; less where the model gives the others no chance. Raises InvalidValue for k out of 1..176."""
        if not 1 <= k <= NUM_LANGUAGES:
            raise InvalidValue(f"k is {k}; it must be 1 to {NUM_LANGUAGES}.", param="k")
        return [self._one(text, k) for text in texts]

    def _one(self, text: str, k: int) -> list[Guess]:
        if not _LETTER.search(text):
            return [UNDETERMINED]
        line = _LINE.sub(" ", text).encode("utf-8", "replace").decode()
        labels, chances = self._model.predict(line, k=k)
        return [(label.removeprefix(_MARK), min(float(chance), 1.0)) for label, chance in zip(labels, chances, strict=True)] or [
            UNDETERMINED
        ]


def identify(texts: Sequence[str], *, settings: Settings | None = None) -> list[Guess]:
    """(code, probability) of each text; fetches the model (792,078 bytes) on first use. Raises MissingExtra, Unreachable."""
    return identifier(settings).identify(texts)


def identifier(settings: Settings | None = None) -> LanguageIdentifier:
    return _open(fetch("lid.176", settings or current()) / "lid.176.ftz")


@functools.lru_cache(maxsize=2)
def _open(file: Path) -> LanguageIdentifier:
    return LanguageIdentifier(file)
