"""A batch of texts as one array of bytes, with what Unicode and the field say of each character, for steps that count them.

    texts   "a1 ", "é"
    data    97 49 32 10 195 169 10      UTF-8; a line feed stands after each text
    kinds    5  9 ..  0   5   0  0      bits of Kind, at the first byte of a character; 0 for the other bytes and those line feeds
    starts   0            4      7      where each text begins, and the end

A share of characters is then one translation of bytes and one sum for the whole batch, hundreds of MB/s, where a loop over each text makes
2. All filters of a batch use the same arrays (measured.py).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Codes = np.ndarray[Any, np.dtype[np.uint32]]
Kinds = np.ndarray[Any, np.dtype[np.uint8]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]

NUM_CODES = 0x110000
PAD = 8
LAST_LETTER = 0x3FFFF  # beyond plane 3 Unicode has no letter, digit or space
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
    every: Any = np.arange(LAST_LETTER + 1, dtype=np.uint32).view("<U1")
    found = np.zeros(NUM_CODES, dtype=np.uint8)
    for kind, has in ((Kind.ALPHANUMERIC, np.strings.isalnum), (Kind.LETTER, np.strings.isalpha),
                      (Kind.DIGIT, np.strings.isdecimal), (Kind.SPACE, np.strings.isspace)):  # fmt: skip
        found[: LAST_LETTER + 1][has(every)] |= kind
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
    """The lower case of every code point, where it is one code point. (Beyond plane 1 no character has one.)"""
    found = np.arange(NUM_CODES, dtype=np.uint32)
    every: Any = found[: LAST_SYMBOL + 1].copy().view("<U1")
    lower = np.strings.lower(every)
    one = np.flatnonzero(np.strings.str_len(lower) == 1)
    found[one] = lower[one].astype("<U1").view(np.uint32)
    return found


@lru_cache(maxsize=1)
def _byte_kinds() -> bytes:
    """For `bytes.translate`."""
    return table()[:128].tobytes() + bytes(128)


@lru_cache(maxsize=64)
def byte_marks(characters: str) -> bytes:
    """For `bytes.translate`: 1 for those of the characters that are one byte."""
    return bytes(chr(code) in characters for code in range(128)) + bytes(128)


@dataclass(frozen=True)
class Characters:
    """Of one batch, as drawn above. Indexes are of bytes. padded: `data` and PAD more bytes, so that 8 can be read from anywhere. lengths:
    characters of each text. firsts, codes: where the characters of several bytes begin, and their code points."""

    padded: Bytes
    starts: Ints
    lengths: Ints
    firsts: Ints
    codes: Codes

    @cached_property
    def kinds(self) -> Kinds:
        """As drawn above."""
        found = np.frombuffer(bytearray(self.raw.translate(_byte_kinds())), dtype=np.uint8)
        found[self.firsts] = table()[self.codes]
        found[self.ends] = 0
        return found

    def lower(self) -> Characters:
        """Each character in lower case, where that is one character."""
        codes = lower_case()[self.codes]
        other = np.flatnonzero(codes != self.codes)
        width = _num_bytes(codes[other])
        fits = width == _num_bytes(self.codes[other])
        padded = np.frombuffer(bytearray(self.padded).lower(), dtype=np.uint8)
        for place in range(4):  # of a character's bytes
            longer = other[fits & (width > place)]
            padded[self.firsts[longer] + place] = _byte_of(codes[longer], place)
        if fits.all():
            return Characters(padded, self.starts, self.lengths, self.firsts, codes)
        texts = [padded[begin:stop] for begin, stop in pairwise(self.starts.tolist())]
        for text in np.unique(np.searchsorted(self.starts, self.firsts[other[~fits]], side="right") - 1).tolist():
            points: Any = lower_case()[self.part(text, text + 1).points()].astype("<u4")
            texts[text] = np.frombuffer(points.tobytes().decode("utf-32-le").encode(), dtype=np.uint8)
        return _joined(texts, self.lengths)

    @property
    def data(self) -> Bytes:
        return self.padded[:-PAD]

    @property
    def raw(self) -> bytes:
        """The texts with their line feeds."""
        return self.data.tobytes()

    @property
    def ends(self) -> Ints:
        """Where the line feed after each text stands."""
        return self.starts[1:] - 1

    @property
    def widths(self) -> Ints:
        """Bytes of the characters that begin at `firsts`."""
        return _num_bytes(self.codes)

    @property
    def inner(self) -> Ints:
        """Where bytes stand that are not the first of their character, ascending."""
        return np.flatnonzero(self.data.view(np.int8) < -64) if len(self.firsts) else self.firsts

    def count(self, kind: int) -> Ints:
        """How many characters of each text are of that kind (of any of several)."""
        return self.total((self.kinds & kind) != 0)

    def share(self, kind: int) -> Floats:
        """Of each text's characters; 0 where there are none."""
        return self.share_of(self.count(kind))

    def share_of(self, count: Ints) -> Floats:
        return count / np.maximum(self.lengths, 1)

    def marked(self, characters: str) -> Truths:
        """Which of the bytes begin one of these characters; the line feeds after texts are marked when a line feed is among them."""
        found = np.frombuffer(bytearray(self.raw.translate(byte_marks(characters))), dtype=bool)
        if longer := [ord(one) for one in characters if ord(one) > 127]:
            found[self.firsts[np.isin(self.codes, longer)]] = True
        return found

    def whole(self, kind: int) -> Truths:
        """Which bytes, all of a character's, are of that kind."""
        found: Truths = (self.kinds & kind) != 0
        for place in range(1, 4):
            longer = self.firsts[self.widths > place]
            found[longer + place] = found[longer]
        return found

    def total(self, marked: Truths) -> Ints:
        """How many bytes of each text are marked; no final line feed may be."""
        if not len(self.lengths):
            return np.zeros(0, dtype=np.int64)
        counted: Ints = np.add.reduceat(marked.view(np.uint8), self.starts[:-1], dtype=np.int64)
        return counted

    def parts(self, num_bytes: int) -> Iterator[Characters]:
        """The same in pieces of whole texts of about so many bytes: what fits into a processor's cache is computed faster."""
        at = 0
        while at < len(self.lengths):
            after = max(at + 1, int(np.searchsorted(self.starts, self.starts[at] + num_bytes, side="right")) - 1)
            yield self.part(at, after)
            at = after

    def part(self, at: int, after: int) -> Characters:
        """Some of the texts."""
        begin, end = self.starts[at], self.starts[after]
        low, high = np.searchsorted(self.firsts, [begin, end])
        starts, lengths = self.starts[at : after + 1] - begin, self.lengths[at:after]
        return Characters(self.padded[begin : end + PAD], starts, lengths, self.firsts[low:high] - begin, self.codes[low:high])

    def select(self, mask: Truths) -> Characters:
        """The texts where the mask is true."""
        if mask.all():
            return self
        bounds = zip(self.starts[:-1][mask].tolist(), self.starts[1:][mask].tolist(), strict=True)
        return _joined([self.padded[begin:stop] for begin, stop in bounds], self.lengths[mask])

    def narrow(self) -> Bytes | None:
        """One byte for each character and PAD more, equal for equal ones; None where more than 128 others than ASCII occur."""
        if not len(self.firsts):
            return self.padded
        others = np.unique(self.codes)
        if len(others) > 128:
            return None
        found = self.padded.copy()
        found[self.firsts] = 128 + np.searchsorted(others, self.codes)
        first = self.padded.view(np.int8) >= -64
        first[-PAD:] = True
        return found[first]

    def points(self) -> np.ndarray[Any, Any]:
        """Code points of all characters, line feeds after texts included."""
        return np.frombuffer(self.raw.decode().encode("utf-32-le"), dtype="<u4") if len(self.firsts) else self.data


def characters(text: pl.Series) -> Characters:
    """Of a column of texts without nulls."""
    starts = np.zeros(len(text) + 1, dtype=np.int64)
    np.cumsum(text.str.len_bytes().to_numpy().astype(np.int64) + 1, out=starts[1:])
    joined = text.str.join("\n").to_arrow() if len(text) else pa.array([""], pa.large_string())
    padded = _padded(memoryview(joined.buffers()[2] or b"")[: max(0, int(starts[-1]) - 1)], end=b"\n" if len(text) else b"")
    return _characters(padded, starts, text.str.len_chars().to_numpy().astype(np.int64))


def _joined(texts: Sequence[Bytes], lengths: Ints) -> Characters:
    """Of texts with their line feeds."""
    starts = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)])
    return _characters(np.concatenate([*texts, np.zeros(PAD, dtype=np.uint8)]), starts, lengths)


def _characters(padded: Bytes, starts: Ints, lengths: Ints) -> Characters:
    firsts = np.flatnonzero(padded[:-PAD] >= 0xC0)
    return Characters(padded, starts, lengths, firsts, _decoded(padded, firsts))


def _padded(data: Any, end: bytes = b"") -> Bytes:
    """The bytes, writable, with PAD more of 0."""
    given = np.frombuffer(data, dtype=np.uint8)
    num = len(given) + len(end)
    found: Bytes = np.empty(num + PAD, dtype=np.uint8)
    found[: len(given)] = given
    found[len(given) : num] = np.frombuffer(end, dtype=np.uint8)
    found[num:] = 0
    return found


def _decoded(data: Bytes, firsts: Ints) -> Codes:
    """Code points of the characters of two to four bytes that begin there (RFC 3629, section 3)."""
    head = data[firsts].astype(np.uint32)
    width = 2 + (head >= 0xE0) + (head >= 0xF0)
    found: Codes = head & (0x7F >> width).astype(np.uint32)
    for place in range(1, 4):
        longer = width > place
        found[longer] = (found[longer] << np.uint32(6)) | (data[firsts[longer] + place] & np.uint32(0x3F))
    return found


def _num_bytes(codes: Codes) -> Ints:
    """Of each code point in UTF-8."""
    found: Ints = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return found


def _byte_of(codes: Codes, place: int) -> Bytes:
    """That byte of each code point's UTF-8; they have it."""
    width = _num_bytes(codes)
    bits = codes >> (6 * (width - 1 - place)).astype(np.uint32)
    if place:
        return ((bits & 0x3F) | 0x80).astype(np.uint8)
    return np.where(width == 1, bits, (0xF00 >> width) & 0xFF | bits).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Lines:
    """Of every text, as `str.splitlines` cuts them: how many lines, and the characters of the longest, 0 for no line."""

    count: Ints
    longest: Ints


def lines(made: Characters) -> Lines:
    if not len(made.lengths):
        return Lines(made.lengths, made.lengths)
    end = (made.kinds & Kind.LINE_END) != 0
    end[made.ends] = True
    places = np.flatnonzero(end)
    length = np.diff(places, prepend=-1) - 1  # characters between a line end and the one before
    inner = made.inner
    if len(inner):
        length -= np.diff(np.searchsorted(inner, places), prepend=0)
    last = made.kinds[places] == 0
    second = (made.data[places] == 10) & (made.data[places - 1] == 13) & ~last  # the \n of \r\n ends no line
    counted = ~second & (~last | (length > 0))
    first = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    count: Ints = np.add.reduceat(counted, first, dtype=np.int64)
    longest: Ints = np.maximum.reduceat(length, first)
    return Lines(count, longest)
