"""Cuts a long text where it hurts least: between paragraphs, then sentences, then words, then characters.

Nothing is lost or moved: the parts joined give the text again. Models with a short context read the parts one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from llmos.errors import InvalidValue
from llmos.text.sentences import sentence_spans

# Ends of pieces, coarse to fine; each pattern is the break itself, which stays with the piece before it.
_BREAKS = (
    re.compile(r"\n[ \t\r]*\n\s*"),  # paragraphs
    re.compile(r"\n\s*|(?<=[.!?…])[\"'»”’)\]]*\s+|(?<=[。！？])[”’」』）]*\s*"),  # lines and sentences
    re.compile(r"(?<=[,;:])\s+|(?<=[，；：、])\s*"),  # clauses
    re.compile(r"\s+"),  # words
)


def split_text(text: str, count_tokens: Callable[[str], int], max_tokens: int) -> list[str]:
    """Parts of at most max_tokens each, as few as a greedy reading finds; "".join of them is the text. An empty text gives [].

    Raises InvalidValue when a single character has more than max_tokens tokens.
    """
    if max_tokens < 1:
        raise InvalidValue(f"max_tokens is {max_tokens}; it must be at least 1.", param="max_tokens")
    return list(_split(text, count_tokens, max_tokens, 0)) if text else []


def sentences(text: str) -> list[str]:
    """The sentences of a text (sentences.py) with the white space after them; "".join of them is the text."""
    starts = [start for start, _ in sentence_spans(text)][1:]
    return [text[start:end] for start, end in pairwise([0, *starts, len(text)])] if text else []


def _split(text: str, count: Callable[[str], int], limit: int, level: int) -> Iterator[str]:
    if count(text) <= limit:
        yield text
        return
    pieces = list(_pieces(text, _BREAKS[level])) if level < len(_BREAKS) else _halves(text, count, limit)
    held = ""
    for piece in pieces:
        if held and count(held + piece) > limit:
            yield held
            held = ""
        if not held and count(piece) > limit:
            *whole, held = _split(piece, count, limit, level + 1)
            yield from whole
        else:
            held += piece
    if held:
        yield held


def _pieces(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for found in pattern.finditer(text):
        if found.end() > start:
            yield text[start : found.end()]
            start = found.end()
    if start < len(text):
        yield text[start:]


def _halves(text: str, count: Callable[[str], int], limit: int) -> list[str]:
    """A word that is too long, cut in the middle until its parts fit."""
    if count(text) <= limit:
        return [text]
    if len(text) == 1:
        raise InvalidValue(f"The character {text!r} alone has {count(text)} tokens, more than {limit}.", param="max_tokens")
    middle = len(text) // 2
    return [*_halves(text[:middle], count, limit), *_halves(text[middle:], count, limit)]
