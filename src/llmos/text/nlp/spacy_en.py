"""The analyser `spacy`: English words, parts of speech and named entities by spaCy's small model, where spaCy is installed.

spaCy is optional: it brings twenty packages. Its model is taken out of its package as files and never imported as code.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmos.errors import MissingExtra
from llmos.settings import Settings
from llmos.text.nlp.base import Analyser, AnalyserKind, Analysis, Availability, Entity, Gift, analysers, writable
from llmos.text.nlp.resources import fetch, place, resources
from llmos.text.sentences import Span

ENTITIES = {
    "PERSON": "PERSON",
    "GPE": "PLACE",
    "LOC": "PLACE",
    "FAC": "PLACE",
    "ORG": "ORGANISATION",
    "DATE": "TIME",
    "TIME": "TIME",
}
_MAX_CHARACTERS = 100_000  # what spaCy is given at once: by its error E088 that takes roughly 1 GB of memory


class Spacy(Analyser):
    name = "spacy"
    gives = frozenset[Gift](("words", "pos", "entities"))

    def __init__(self, folder: Path) -> None:
        import spacy

        self._pipeline: Any = spacy.load(folder, exclude=["lemmatizer"])

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        pieces = [(row, *span) for row, text in enumerate(texts) for span in _parts(text)]
        cut = (writable(texts[row][start:end]) for row, start, end in pieces)
        answers = [Analysis(text=text, analyser=self.name, sentences=[], words=[], pos=[], native=[]) for text in texts]
        for (row, start, _), document in zip(pieces, self._pipeline.pipe(cut), strict=True):
            _add(answers[row], document, start)
        return answers


def _parts(text: str) -> list[Span]:
    """The text in pieces that end behind white space, none longer than _MAX_CHARACTERS; a word that is longer is cut."""
    starts = [0]
    while len(text) - starts[-1] > _MAX_CHARACTERS:
        cut = max(text.rfind(sign, starts[-1], starts[-1] + _MAX_CHARACTERS) for sign in "\n ") + 1
        starts.append(cut if cut > starts[-1] else starts[-1] + _MAX_CHARACTERS)
    return list(pairwise([*starts, len(text)]))


def _add(answer: Analysis, document: Any, at: int) -> None:
    for word in document:
        if not word.text.isspace():
            answer.words.append((at + word.idx, at + word.idx + len(word.text)))
            answer.pos.append("X" if word.pos_ == "SPACE" else word.pos_)
            answer.native.append(word.tag_)
    for span in document.sents:
        kept = span.text.strip()
        if kept:
            start = at + span.start_char + len(span.text) - len(span.text.lstrip())
            answer.sentences.append((start, start + len(kept)))
    for span in document.ents:
        kept = span.text.strip()
        if kept:
            start = at + span.start_char + len(span.text) - len(span.text.lstrip())
            answer.entities.append(Entity(kept, start, start + len(kept), ENTITIES.get(span.label_, span.label_)))


@analysers.register("spacy")
class SpacyKind(AnalyserKind):
    languages = ("en",)
    tagset = "Penn Treebank"
    gives = Spacy.gives
    licence = "MIT"

    def available(self, settings: Settings) -> Availability:
        if not importlib.util.find_spec("spacy"):
            return Availability(False, str(MissingExtra("spacy", needed_for="The analyser spacy")))
        if place("spacy-en", settings).is_dir():
            return Availability(True, f"here: {place('spacy-en', settings)}")
        return Availability(True, f"fetches {resources.get('spacy-en').size_bytes:,} bytes from PyPI on first use")

    def load(self, settings: Settings) -> Analyser:
        if not importlib.util.find_spec("spacy"):
            raise MissingExtra("spacy", needed_for="The analyser spacy")
        return Spacy(fetch("spacy-en", settings))
