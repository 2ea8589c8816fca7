"""Where sentences end, in English, Chinese and text that mixes them; by rules that can be read, without a model.

A full stop is the hard case. It ends a sentence unless it belongs to a number, an abbreviation or an initial; after an
abbreviation that may also stand last (etc., U.S., Inc.) the next word decides: a sentence often starts with "The" and hardly
ever with "Smith" (the question and the orthographic evidence are those of Kiss and Strunk 2006, "Unsupervised Multilingual
Sentence Boundary Detection", with word lists in the place of their statistics).

A line break ends a sentence, except where the text plainly goes on: the next line starts with a small letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmos.text.abbreviations import MAYBE_LAST, NEVER_LAST, STARTERS, known

Span = tuple[int, int]
"""Places in a text: the first character and the one after the last."""

_CLOSERS = "\"'»”’)\\]}」』）》】"
# A candidate: Chinese marks need no space after them, Western ones do; a blank line and a line break.
# No quantifier gives back, and no run of marks is tried from its middle: the time grows with the length of the text.
_CANDIDATE = re.compile(
    rf"""(?P<han>(?:[。！？｡]|(?<![!?])[!?]++(?=[{_CLOSERS}]*+[㐀-鿿]))[。！？!?…]*+[{_CLOSERS}]*+)"""
    rf"""|(?P<ellipsis>(?<!…)…++[”’」』])"""
    rf"""|(?P<stop>(?<![.!?…])[.!?…]++[{_CLOSERS}]*+)(?=\s|$)"""
    r"""|(?P<line>\n\s*+)"""
)
_BEFORE = re.compile(r"[^\s\"'“”‘’(\[{<>—–\u3000-鿿！-～]+$")
_AFTER = re.compile(r"\s*[\"'“”‘’(\[{«`]*([^\s\"'“”‘’()\[\]]*)")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[A-HJ-Z]")  # not I: "So do I."
_LIST_MARK = re.compile(r"(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})")


def sentence_spans(text: str) -> list[Span]:
    """The sentences of a text in order, without the white space around them; what is in none of them is white space."""
    spans, start = [], 0
    for end in _ends(text):
        if end > start:
            spans.append((start, end))
        start = end
    spans.append((start, len(text)))
    return [span for span in (_stripped(text, *one) for one in spans) if span[0] < span[1]]


def _ends(text: str) -> Iterator[int]:
    """Places after the last character of a sentence, growing; perhaps one at the end of the text."""
    for found in _CANDIDATE.finditer(text):
        if found["line"] is not None:
            if _line_ends(text, found.start(), found.end()):
                yield found.start()
        elif found["stop"] is None or _stop_ends(text, found.start(), found.end()):
            yield found.end()


def _line_ends(text: str, start: int, end: int) -> bool:
    """A blank line always ends; one line break does unless the next line begins with a small letter."""
    return text.count("\n", start, end) > 1 or end >= len(text) or not text[end].islower()


def _stop_ends(text: str, start: int, end: int) -> bool:
    marks = text[start:end]
    after = _AFTER.match(text, end)
    following = after[1] if after else ""
    if following[:1].islower():
        return False
    if marks[0] != "." or marks.startswith("..") or not following:
        return True
    before = _BEFORE.search(text, max(0, start - 40), start)
    word = before[0] if before else ""
    if marks == "." and _LIST_MARK.fullmatch(word) and _starts_line(text, start - len(word)):
        return False
    return len(marks) > 1 or not _goes_on(word, following)


def _goes_on(word: str, following: str) -> bool:
    """Whether the full stop after this word belongs to the word, and the sentence goes on with the following one."""
    if known(word, NEVER_LAST):
        return True
    if known(word, MAYBE_LAST) or _INITIALS.fullmatch(word):
        return following.rstrip(".,;:!?").lower() not in STARTERS
    return word in ("no", "No") and following[:1].isdigit()


def _starts_line(text: str, start: int) -> bool:
    """Whether only white space stands before this place in its line."""
    while start > 0 and text[start - 1] in " \t":
        start -= 1
    return start == 0 or text[start - 1] == "\n"


def _stripped(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
