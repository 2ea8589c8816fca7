"""Cuts text into words by rule: English as the Brown corpus writes it, other scripts plainly.

Rules of English: hyphenated words, amounts ($100, 50%), abbreviations (U.S., Mr.) and addresses stay whole; contractions and
possessives come apart as in Universal Dependencies (did|n't, it|'s, John|'s, can|not). A cut depends on the letters between two
white spaces only, so each such piece is cut once and remembered: a large text has few different ones.
"""

from __future__ import annotations

import re
from functools import lru_cache

from llmos.text.abbreviations import MAYBE_LAST, NEVER_LAST, known
from llmos.text.sentences import Span

_PIECE = re.compile(
    r"""(?:https?://|www\.)[^\s"“”<>]*[\w/]|(?<![\w.+-])[\w.+-]{1,64}@\w[\w-]*(?:\.[\w-]+)+"""  # addresses
    r"""|(?:[A-Za-z]\.){2,}|[A-HJ-Z]\.(?=[^.]|$)"""  # U.S., a.m., initials
    r"""|['’]\d\ds?\b|['’](?:em|til|tis|twas|round|cause|bout)\b"""
    r"""|[$£€¥]?(?<![\d.])[+-]?\d+(?:[.,:/-]\d+)*(?:%|-?[^\W\d_㐀-鿿]+(?:-[^\W_㐀-鿿]+)*)?"""  # amounts, times, 20th, 10-year-old
    r"""|[㐀-鿿豈-﫿]+"""
    r"""|[^\W㐀-鿿]+(?:[-'’.&](?=[^\W㐀-鿿])[^\W㐀-鿿]+)*"""
    r"""|\.{2,}|…+|[-—]{2,}|``|''|[^\w\s]"""
    r"""|\S"""
)
_CHUNK = re.compile(r"\S+")
_SUFFIX = re.compile(r"(?i)(?<=\w)(?:n['’]t|['’](?:s|re|ve|ll|d|m))$")
_WITH_STOP = NEVER_LAST | MAYBE_LAST
_MAX_REMEMBERED = 100_000
_MAX_REMEMBERED_CHARACTERS = 40


def word_spans(text: str) -> list[Span]:
    """The words of a text; every character that is no white space is in exactly one."""
    spans: list[Span] = []
    for found in _CHUNK.finditer(text):
        start, chunk = found.start(), found[0]
        cuts = _remembered(chunk) if len(chunk) <= _MAX_REMEMBERED_CHARACTERS else _cut(chunk)
        spans += [(start + first, start + last) for first, last in cuts]
    return spans


@lru_cache(_MAX_REMEMBERED)
def _remembered(chunk: str) -> tuple[Span, ...]:
    return _cut(chunk)


def _cut(chunk: str) -> tuple[Span, ...]:
    if chunk.isalpha() and chunk.isascii() and chunk.lower() != "cannot":
        return ((0, len(chunk)),)
    cuts: list[Span] = []
    at = 0
    while at < len(chunk):
        found = _PIECE.match(chunk, at)
        end = found.end() if found else at + 1
        cuts += _parts(chunk, at, end)
        at = end
        if chunk[at : at + 1] == "." and chunk[at + 1 : at + 2] != "." and known(chunk[cuts[-1][0] : at], _WITH_STOP):
            at += 1
            cuts[-1] = (cuts[-1][0], at)
    return tuple(cuts)


def _parts(chunk: str, start: int, end: int) -> list[Span]:
    """A piece, with what is written together taken apart."""
    piece = chunk[start:end]
    if piece.lower() == "cannot":
        return [(start, start + 3), (start + 3, end)]
    if "'" in piece or "’" in piece:
        suffix = _SUFFIX.search(piece)
        if suffix and suffix.start() > 0:
            return [(start, start + suffix.start()), (start + suffix.start(), end)]
    return [(start, end)]
