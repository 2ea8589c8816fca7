"""The language tools as data steps and the SDK use them: lists of texts in, one Analysis a text out, each by the right analyser.

    tools = LanguageTools()
    tools.analyse(["The cat sat.", "我爱北京天安门。"])        # the language of each text is found first
    tools.analyse(texts, language="zh", analyser="jieba")

A text in a language that no analyser reads is cut by `plain` and has empty tags; `Analysis.analyser` says so, text by text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from llmos.errors import InvalidValue
from llmos.settings import Settings, current
from llmos.text.languages import language as known_language
from llmos.text.nlp.base import Analyser, Analysis, Availability, Entity, analysers
from llmos.text.nlp.identify import Guess, identifier

T = TypeVar("T")

DEFAULTS = {"en": "english", "zh": "lac"}
WORD_DEFAULTS = {"zh": "lac"}  # words alone are cut by rule where there are spaces
ENTITY_DEFAULTS = {"en": "spacy", "zh": "lac"}
_READS_AS = {"zh-hant": "zh", "yue": "zh", "wuu": "zh"}  # written Chinese that the Chinese analysers read


class LanguageTools:
    """Analysers are loaded when a text needs them, once. Thread-safe."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or current()
        self._loaded: dict[str, Analyser] = {}
        self._lock = threading.Lock()

    def load(self, name: str) -> Analyser:
        """Raises NotFound for an unknown name, and what AnalyserKind.load raises."""
        kind = analysers.get(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = kind.load(self._settings)
            return self._loaded[name]

    def available(self) -> dict[str, Availability]:
        """Every analyser, and whether it can be used now."""
        return {name: kind.available(self._settings) for name, kind in analysers}

    def identify(self, texts: Sequence[str]) -> list[Guess]:
        """(code, probability) of each text; ("und", 0.0) for one without letters."""
        return identifier(self._settings).identify(texts)

    def analyse(self, texts: Sequence[str], *, language: str = "", analyser: str = "") -> list[Analysis]:
        """language: of all texts; "" finds it for each. analyser: for all texts; "" takes the language's own (DEFAULTS)."""
        return self._each(texts, self._names(texts, language, analyser, DEFAULTS), lambda one, some: one.analyse(some))

    def words(self, texts: Sequence[str], *, language: str = "", analyser: str = "") -> list[list[str]]:
        """The words alone (WORD_DEFAULTS): those of `analyse`, without what tags would take."""
        return self._each(texts, self._names(texts, language, analyser, WORD_DEFAULTS), lambda one, some: one.words(some))

    def entities(self, texts: Sequence[str], *, language: str = "", analyser: str = "") -> list[list[Entity] | None]:
        """None for a text in a language whose entities no analyser finds (ENTITY_DEFAULTS): nobody looked. Raises UnsupportedFeature for
        an `analyser` that finds none, MissingExtra for English without spaCy."""

        def found(one: Analyser, some: Sequence[str]) -> list[list[Entity] | None]:
            return list(one.entities(some)) if analyser or one.name != "plain" else [None] * len(some)

        return self._each(texts, self._names(texts, language, analyser, ENTITY_DEFAULTS), found)

    def _names(self, texts: Sequence[str], language: str, analyser: str, defaults: Mapping[str, str]) -> list[str]:
        """The analyser of each text."""
        if isinstance(texts, str):
            raise InvalidValue("texts is one string; give a list of texts.", param="texts")
        if analyser:
            return [analyser] * len(texts)
        codes = [known_language(language).code] * len(texts) if language else [code for code, _ in self.identify(texts)]
        return [defaults.get(_READS_AS.get(code, code), "plain") for code in codes]

    def _each(self, texts: Sequence[str], names: Sequence[str], work: Callable[[Analyser, Sequence[str]], list[T]]) -> list[T]:
        """The texts of an analyser together, the answers in the order of the texts."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        answers: dict[int, T] = {}
        for name, numbers in rows.items():
            answers |= zip(numbers, work(self.load(name), [texts[row] for row in numbers]), strict=True)
        return [answers[row] for row in range(len(texts))]
