"""The analyser `plain`: sentences and words by rule for any language, without tags; what a text gets that no other reads."""

from __future__ import annotations

from collections.abc import Sequence

from llmos.settings import Settings
from llmos.text.nlp.base import Analyser, AnalyserKind, Analysis, Availability, Gift, analysers
from llmos.text.nlp.cutting import word_spans
from llmos.text.sentences import sentence_spans


class Plain(Analyser):
    name = "plain"
    gives = frozenset[Gift](("words",))

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        answers = []
        for text in texts:
            words = word_spans(text)
            pos, native = [""] * len(words), [""] * len(words)
            answers.append(
                Analysis(text=text, analyser=self.name, sentences=sentence_spans(text), words=words, pos=pos, native=native)
            )
        return answers

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        return [[text[start:end] for start, end in word_spans(text)] for text in texts]


@analysers.register("plain")
class PlainKind(AnalyserKind):
    languages = ()
    tagset = ""
    gives = Plain.gives
    licence = "Apache-2.0"

    def available(self, settings: Settings) -> Availability:
        return Availability(True, "rules only")

    def load(self, settings: Settings) -> Analyser:
        return Plain()
