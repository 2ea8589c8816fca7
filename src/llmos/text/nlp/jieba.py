"""The analyser `jieba`: Chinese words and parts of speech by dictionary and HMM, quick and without files (rjieba, a Rust port of jieba).

Its dictionary knows the tag of a word, not of its place in the sentence; names of people, places and organisations are what the
dictionary or its name model tags nr, ns, nt.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from llmos.errors import MissingExtra
from llmos.settings import Settings
from llmos.text.nlp.base import Analyser, AnalyserKind, Analysis, Availability, Entity, Gift, analysers, writable
from llmos.text.nlp.tagsets import JIEBA, pku_upos
from llmos.text.sentences import sentence_spans

ENTITIES = {"nr": "PERSON", "nrfg": "PERSON", "nrt": "PERSON", "ns": "PLACE", "nt": "ORGANISATION"}


class Jieba(Analyser):
    name = "jieba"
    gives = frozenset[Gift](("words", "pos", "entities"))

    def __init__(self) -> None:
        import rjieba

        self._jieba: Any = rjieba.Jieba()

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Analysis:
        answer = Analysis(text=text, analyser=self.name, sentences=sentence_spans(text), words=[], pos=[], native=[])
        start = 0
        for word, native in self._jieba.tag(writable(text)):
            end = start + len(word)
            if not word.isspace():
                answer.words.append((start, end))
                answer.native.append(native)
                answer.pos.append(pku_upos(JIEBA, native, word))
                if native in ENTITIES:
                    answer.entities.append(Entity(text[start:end], start, end, ENTITIES[native]))
            start = end
        return answer


@analysers.register("jieba")
class JiebaKind(AnalyserKind):
    languages = ("zh",)
    tagset = "PKU, as jieba's dictionary has it"
    gives = Jieba.gives
    licence = "MIT"

    def available(self, settings: Settings) -> Availability:
        if importlib.util.find_spec("rjieba"):
            return Availability(True, "installed")
        return Availability(False, str(MissingExtra("data", needed_for="The analyser jieba")))

    def load(self, settings: Settings) -> Analyser:
        try:
            return Jieba()
        except ImportError:
            raise MissingExtra("data", needed_for="The analyser jieba") from None
