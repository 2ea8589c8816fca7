"""Every character of a batch of texts as a number in one array, with what Unicode and the field say it is, for steps that count them.

    texts   "a1 ", "é"
    codes   97 49 32 10 233 10      code points; a line feed stands after each text
    kinds    5  9 ..  0   5  0      bits of Kind; 0 for those line feeds
    starts   0           4      6   where each text begins, and the end

A share of characters is then one table look-up and one sum for the whole batch, some hundred MB/s, where a loop over each text makes 2.
All filters of a batch use the same arrays (measured.py).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

Codes = np.ndarray[Any, np.dtype[np.uint32]]
Kinds = np.ndarray[Any, np.dtype[np.uint8]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]

NUM_CODES = 0x110000
LAST_SYMBOL = 0x1FFFF  # Unicode has no punctuation or symbol beyond plane 1

# What is no part of a word at its ends, in the filters of ROOTS (Laurençon et al. 2022, arXiv:2303.03915) and of Data-Juicer: ASCII
# punctuation, digits and white space, signs seen around words on the web, and emojis of one code point (Unicode Emoji 15.0). Ranges
# of code points, hexadecimal.
SPECIAL = """
    9-d 20-40 5b-60 7b-7e 81-85 91-93 95-99 9c-9d a1-ab ad-b4 b7-bf d7 f7-f8 131 26a 2ba-2bc 2c8 2cc 2d0 2d8 2da 2dc 3c0
    413 60c 647 66a 66c 6e9 93e 940 947 94d 97d 9be e51 2002-2003 2005 2008-200b 2010-2011 2013-2016 2018-201a 201c-2020
    2022 2024 2026 202f-2030 2032-2033 2039-203a 203c 203f 2043-2044 2049 20a8 20aa 20ac 2103 2122 2139 2190-2199
    21a9-21aa 21d3 2206 2208 2212 221a 221e-221f 223c 2248 2256 2264-2265 2295 22c5 231a-231b 2328 23cf 23e9-23f3
    23f8-23fa 24c2 2550 25a0 25aa-25ac 25b2 25b4 25b6-25b7 25ba-25bc 25c0 25c6 25cf 25e6 25fb-25fe 2600-2606 260e 2611
    2614-2615 2618 261b 261d 2620 2622-2623 2626 262a 262e-262f 2638-263b 2640 2642 2648-2653 265f-2661 2663 2665-2666
    2668 266b 267b 267e-267f 2692-2697 2699 269b-269c 26a0-26a1 26a7 26aa-26ab 26b0-26b1 26bd-26be 26c4-26c5 26c8
    26ce-26cf 26d1 26d3-26d4 26e9-26ea 26f0-26f5 26f7-26fa 26fd 2702 2705 2708-270d 270f 2712-2714 2716 271d 2721 2726
    2728 2731 2733-2734 2744 2747 274c 274e 2753-2757 2763-2764 2795-2797 27a1 27a4 27a9 27b0 27bf 2800 2934-2935
    2b05-2b07 2b1b-2b1c 2b50 2b55 3000-3002 300a-300d 3010-3011 3030 303d 309c 30b7 30c3-30c4 30f3 30fb-30fc 3297 3299
    4e00 4e0a 58eb fd3e-fd3f feff ff01 ff08-ff09 ff0c ff0e ff11 ff1a-ff1b ff1f ff3e ff5e fffc-fffd 1f004 1f0cf 1f170-1f171
    1f17e-1f17f 1f18e 1f191-1f19a 1f201-1f202 1f21a 1f22f 1f232-1f23a 1f250-1f251 1f300-1f321 1f324-1f393 1f396-1f397
    1f399-1f39b 1f39e-1f3f0 1f3f3-1f3f5 1f3f7-1f4fd 1f4ff-1f53d 1f549-1f54e 1f550-1f567 1f56f-1f570 1f573-1f57a 1f587
    1f58a-1f58d 1f590 1f595-1f596 1f5a4-1f5a5 1f5a8 1f5b1-1f5b2 1f5bc 1f5c2-1f5c4 1f5d1-1f5d3 1f5dc-1f5de 1f5e1 1f5e3
    1f5e8 1f5ef 1f5f3 1f5fa-1f64f 1f680-1f6c5 1f6cb-1f6d2 1f6d5-1f6d7 1f6dc-1f6e5 1f6e9 1f6eb-1f6ec 1f6f0 1f6f3-1f6fc
    1f7e0-1f7eb 1f7f0 1f90c-1f93a 1f93c-1f945 1f947-1f9ff 1fa70-1fa7c 1fa80-1fa88 1fa90-1fabd 1fabf-1fac5 1face-1fadb
    1fae0-1fae8 1faf0-1faf8
"""


class Kind:
    """alphanumeric, letter, digit, space: as `str.isalnum`, `isalpha`, `isdecimal`, `isspace`. symbol: Unicode P* and S*. special: of
    SPECIAL. line_end: ends a line for `str.splitlines`. cjk: an ideograph of its own (Unicode 15, blocks of Unified Ideographs)."""

    ALPHANUMERIC = 1
    LETTER = 2
    DIGIT = 4
    SPACE = 8
    SYMBOL = 16
    SPECIAL = 32
    LINE_END = 64
    CJK = 128


@lru_cache(maxsize=1)
def table() -> Kinds:
    """The kind of every code point."""
    every: Any = np.arange(NUM_CODES, dtype=np.uint32).view("<U1")
    found = np.zeros(NUM_CODES, dtype=np.uint8)
    for kind, has in ((Kind.ALPHANUMERIC, np.strings.isalnum), (Kind.LETTER, np.strings.isalpha),
                      (Kind.DIGIT, np.strings.isdecimal), (Kind.SPACE, np.strings.isspace)):  # fmt: skip
        found[has(every)] |= kind
    symbols = [unicodedata.category(chr(code))[0] in "PS" for code in range(LAST_SYMBOL + 1)]
    found[: LAST_SYMBOL + 1][symbols] |= Kind.SYMBOL
    for part in SPECIAL.split():
        first, _, last = part.partition("-")
        found[int(first, 16) : int(last or first, 16) + 1] |= Kind.SPECIAL
    found[[ord(one) for one in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"]] |= Kind.LINE_END
    for low, high in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)):
        found[low : high + 1] |= Kind.CJK
    assert all(found[ord(one)] & Kind.SPECIAL for one in string.punctuation + string.digits + string.whitespace)
    return found


@lru_cache(maxsize=1)
def lower_case() -> Codes:
    """The lower case of every code point, where it is one code point."""
    found = np.arange(NUM_CODES, dtype=np.uint32)
    every: Any = found.view("<U1")
    lower = np.strings.lower(every)
    one = np.strings.str_len(lower) == 1
    found = found.copy()
    found[one] = lower[one].astype("<U1").view(np.uint32)
    return found


@dataclass(frozen=True, slots=True)
class Characters:
    """Of one batch, as drawn above. Indexes are of characters."""

    codes: Codes
    kinds: Kinds
    starts: Ints

    def lower(self) -> Characters:
        """Each character in lower case."""
        codes = lower_case()[self.codes]
        kinds = table()[codes]
        kinds[self.ends] = 0
        return Characters(codes, kinds, self.starts)

    @property
    def lengths(self) -> Ints:
        """Characters of each text."""
        return np.diff(self.starts) - 1

    @property
    def ends(self) -> Ints:
        """Where the line feed after each text stands."""
        return self.starts[1:] - 1

    def count(self, kind: int) -> Ints:
        """How many characters of each text are of that kind (of any of several)."""
        return self.total((self.kinds & kind) != 0)

    def share(self, kind: int) -> Floats:
        """Of each text's characters; 0 where there are none."""
        return self.share_of(self.count(kind))

    def share_of(self, count: Ints) -> Floats:
        return count / np.maximum(self.lengths, 1)

    def total(self, marked: Truths) -> Ints:
        """How many characters of each text are marked; no final line feed may be."""
        if not len(self.lengths):
            return np.zeros(0, dtype=np.int64)
        counted: Ints = np.add.reduceat(marked.view(np.uint8), self.starts[:-1], dtype=np.int64)
        return counted

    def parts(self, num_chars: int) -> Iterator[Characters]:
        """The same in pieces of whole texts of about so many characters: what fits into a processor's cache is computed faster."""
        at = 0
        while at < len(self.lengths):
            after = max(at + 1, int(np.searchsorted(self.starts, self.starts[at] + num_chars, side="right")) - 1)
            begin, end = self.starts[at], self.starts[after]
            yield Characters(self.codes[begin:end], self.kinds[begin:end], self.starts[at : after + 1] - begin)
            at = after

    def rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Of every character, which text it belongs to."""
        return np.repeat(np.arange(len(self.lengths)), np.diff(self.starts))


def characters(text: pl.Series) -> Characters:
    """Of a column of texts without nulls."""
    starts = np.zeros(len(text) + 1, dtype=np.int64)
    np.cumsum(text.str.len_chars().to_numpy().astype(np.int64) + 1, out=starts[1:])
    joined = str(text.str.join("\n").item()) + "\n" if len(text) else ""
    codes = np.frombuffer(joined.encode("utf-32-le"), dtype="<u4")
    kinds = table()[codes]
    kinds[starts[1:] - 1] = 0
    return Characters(codes, kinds, starts)


@dataclass(frozen=True, slots=True)
class Lines:
    """Of every text, as `str.splitlines` cuts them: how many lines, and the characters of the longest, 0 for no line."""

    count: Ints
    longest: Ints


def lines(made: Characters) -> Lines:
    if not len(made.lengths):
        return Lines(made.lengths, made.lengths)
    second = np.zeros(len(made.codes), dtype=bool)  # the \n of \r\n ends no line and is in none
    second[1:] = (made.codes[1:] == 10) & (made.codes[:-1] == 13)
    second[made.ends] = False
    end = ((made.kinds & Kind.LINE_END) != 0) & ~second
    open_end = (made.lengths > 0) & ((made.kinds[np.maximum(made.ends - 1, 0)] & Kind.LINE_END) == 0)
    count = made.total(end) + open_end
    end[made.ends] = True
    places = np.flatnonzero(end)
    length = np.diff(places, prepend=-1) - 1 - np.diff(np.cumsum(second)[places], prepend=0)
    longest: Ints = np.maximum.reduceat(length, np.searchsorted(places, made.starts[:-1]))
    return Lines(count, longest)
