"""The contract of the language tools: what a text is made of, always as places in the text itself.

    texts -> Analyser.analyse -> one Analysis a text: sentences, words, parts of speech, named entities

Offsets are in characters of the original text and text[start:end] is the piece, whatever an analyser does inside. Words do not
overlap, stand in order, hold no white space, and every character that is no white space is in exactly one of them: the text
can be put together again, so a data step may cut, mask or count without losing anything.

`Analysis` holds columns (lists of places, of tags), which is quick for thousands of texts; `tokens()` makes records of them.
A kind of analyser registers itself in `analysers`; `load` opens its files once, the `Analyser` it gives may be used from many
threads. Tags are Universal POS (UPOS, https://universaldependencies.org/u/pos/) beside the analyser's own (tagsets.py).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from llmos.errors import UnsupportedFeature
from llmos.registry import Registry
from llmos.settings import Settings
from llmos.text.sentences import Span

Gift = Literal["words", "pos", "entities", "given words"]


@dataclass(frozen=True, slots=True)
class Entity:
    """label: PERSON, PLACE, ORGANISATION or TIME; other labels are the analyser's own, as it writes them."""

    text: str
    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Token:
    """A word in its place. pos: UPOS, "" where the analyser does not tag. native: its own tag. entity: label of the entity
    it is part of, or ""."""

    text: str
    start: int
    end: int
    pos: str
    native: str
    entity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """One text. words, pos and native have the same length; sentences are without the white space around them."""

    text: str
    analyser: str
    sentences: list[Span]
    words: list[Span]
    pos: list[str]
    native: list[str]
    entities: list[Entity] = field(default_factory=list)

    def word_texts(self) -> list[str]:
        return [self.text[start:end] for start, end in self.words]

    def sentence_texts(self) -> list[str]:
        return [self.text[start:end] for start, end in self.sentences]

    def tokens(self) -> list[Token]:
        labels, entities, at = [], sorted(self.entities, key=lambda one: one.start), 0
        for start, end in self.words:
            while at < len(entities) and entities[at].end <= start:
                at += 1
            inside = at < len(entities) and entities[at].start < end
            labels.append(entities[at].label if inside else "")
        rows = zip(self.words, self.pos, self.native, labels, strict=True)
        return [Token(self.text[start:end], start, end, pos, native, label) for (start, end), pos, native, label in rows]


class Analyser(ABC):
    """A loaded analyser. Thread-safe. Texts of any length and content; an empty text has no sentence and no word."""

    name: str
    gives: frozenset[Gift]

    @abstractmethod
    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        """As many answers as texts, in their order."""

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[tuple[str, str]]]:
        """(UPOS, native tag) of every word of sentences that are cut into words already, as "given words" promises.

        Raises UnsupportedFeature where the analyser only takes text."""
        raise UnsupportedFeature(
            f"The analyser {self.name} cuts words itself; it cannot tag given ones.",
            hint="Take lac or english, or give it the text.",
        )

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        return [one.word_texts() for one in self.analyse(texts)]

    def sentences(self, texts: Sequence[str]) -> list[list[str]]:
        return [one.sentence_texts() for one in self.analyse(texts)]

    def tag(self, texts: Sequence[str]) -> list[list[Token]]:
        """Raises UnsupportedFeature where the analyser gives no parts of speech."""
        self.require("pos")
        return [one.tokens() for one in self.analyse(texts)]

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Raises UnsupportedFeature where the analyser finds none: an empty list always means that there are none."""
        self.require("entities")
        return [one.entities for one in self.analyse(texts)]

    def require(self, gift: Gift) -> None:
        if gift not in self.gives:
            able = [name for name, kind in analysers if gift in kind.gives]
            raise UnsupportedFeature(
                f"The analyser {self.name} gives no {gift}; it gives {', '.join(sorted(self.gives))}.",
                hint=f"These give {gift}: {', '.join(able)}.",
            )


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an analyser can be loaded now, and what it takes: the command to type, or the files it will fetch."""

    ok: bool
    why: str


class AnalyserKind(ABC):
    """What is known of an analyser before it is loaded. languages: codes of text/languages.py, () for any."""

    languages: ClassVar[tuple[str, ...]]
    tagset: ClassVar[str]
    gives: ClassVar[frozenset[Gift]]
    licence: ClassVar[str]

    @abstractmethod
    def available(self, settings: Settings) -> Availability:
        """Looks, but fetches and loads nothing."""

    @abstractmethod
    def load(self, settings: Settings) -> Analyser:
        """Opens its files, fetched on first use into the home (resources.py). Raises MissingExtra, Unreachable, SourceError,
        CorruptFile."""


_SURROGATES = re.compile(r"[\ud800-\udfff]")


def writable(text: str) -> str:
    """The text as libraries in other languages can take it: half characters (lone surrogates) replaced, each by one."""
    return _SURROGATES.sub("\ufffd", text)


analysers: Registry[AnalyserKind] = Registry("analyser")
