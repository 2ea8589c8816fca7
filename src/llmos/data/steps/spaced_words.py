"""Words as the filters of ROOTS and Data-Juicer see them, and hashes of words and of neighbours, for a whole batch at once.

A text is cut at spaces, line feeds and tabs; each piece loses the special characters (characters.py) at its ends, and what is then
empty is no word: "Hello,  (world) - 42" has 2. A word is never a string here but a place in the batch and a 64-bit hash, so that
counting stop words or repeated 10-grams is arithmetic on arrays.

Hashes are polynomials over 64-bit integers, of eight bytes each, mixed. Two different words of a batch of a million have the
same one with a probability of about 3e-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from llmos.data.steps.characters import PAD, Bytes, Characters, Ints, Kind, Truths, table

Hashes = np.ndarray[Any, np.dtype[np.uint64]]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd; 2^64 over the golden ratio
_MIXER = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64 (Steele, Lea, Flood 2014)
_HALF = np.uint64(32)
_FIRST = np.uint64(48)
_KEPT = np.array([(1 << 8 * num) - 1 for num in range(9)], dtype=np.uint64)  # the first bytes of eight
FEW = 4
LONG = 64  # bytes of a word that are hashed side by side with those of others


@dataclass(frozen=True)
class SpacedWords:
    """Word i is characters.data[begins[i]:stops[i]]; text t has the words bounds[t]:bounds[t + 1]."""

    characters: Characters
    begins: Ints
    stops: Ints
    bounds: Ints

    @property
    def count(self) -> Ints:
        """Words of each text."""
        return np.diff(self.bounds)

    @property
    def length(self) -> Ints:
        """Characters of each text in its words."""
        inner = self.characters.inner
        long = np.searchsorted(inner, self.stops) - np.searchsorted(inner, self.begins)
        sums = np.concatenate([[0], np.cumsum(self.stops - self.begins - long)])
        found: Ints = sums[self.bounds[1:]] - sums[self.bounds[:-1]]
        return found

    @cached_property
    def hashes(self) -> Hashes:
        """One for each word."""
        return hash_spans(self.characters.padded, self.begins, self.stops)

    def rows(self) -> Ints:
        """Of every word, which text it is in."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.count)

    def count_in(self, listed: Iterable[str]) -> Ints:
        """How many words of each text are in the list."""
        wanted = np.sort(hash_words(listed))
        found = np.zeros(len(self.hashes), dtype=bool)
        if len(wanted):
            begins_so = np.zeros(1 << 16, dtype=bool)  # most words are told apart by the first 16 bits
            begins_so[wanted >> _FIRST] = True
            likely = np.flatnonzero(begins_so[self.hashes >> _FIRST])
            place = np.minimum(np.searchsorted(wanted, self.hashes[likely]), len(wanted) - 1)
            found[likely] = wanted[place] == self.hashes[likely]
        sums = np.concatenate([[0], np.cumsum(found)])
        counted: Ints = sums[self.bounds[1:]] - sums[self.bounds[:-1]]
        return counted


def spaced_words(made: Characters) -> SpacedWords:
    begins, stops = pieces(made, " \n\t")
    special = made.whole(Kind.SPECIAL)
    there = np.flatnonzero(special[begins] | special[stops - 1])
    for _ in range(FEW):
        begin, last = begins[there], _first_byte(made.data, stops[there] - 1)
        begins[there] = np.where(special[begin], begin + _width(made.data[begin]), begin)
        stops[there] = np.where(special[last], last, stops[there])
        there = there[begins[there] < stops[there]]
        there = there[special[begins[there]] | special[stops[there] - 1]]
    if len(there):
        begins[there], stops[there] = _stripped(special, made.data, begins[there], stops[there])
    full = begins < stops
    begins, stops = begins[full], stops[full]
    return SpacedWords(made, begins, stops, np.searchsorted(begins, made.starts))


def lower_words(words: SpacedWords) -> SpacedWords:
    """Words of the same texts in lower case: where they were, but in texts where a special character has become another or the reverse."""
    made, lower = words.characters, words.characters.lower()
    if lower.starts is not made.starts:
        return spaced_words(lower)
    turned = ((table()[made.codes] ^ table()[lower.codes]) & Kind.SPECIAL) != 0
    texts = np.unique(np.searchsorted(made.starts, made.firsts[turned], side="right") - 1)
    if not len(texts):
        return SpacedWords(lower, words.begins, words.stops, words.bounds)
    begins, stops = [words.begins], [words.stops]
    for text in texts.tolist():
        again = spaced_words(lower.part(text, text + 1))
        begins.append(again.begins + made.starts[text])
        stops.append(again.stops + made.starts[text])
    stays = np.repeat(~np.isin(np.arange(len(words.count)), texts), words.count)
    begins[0], stops[0] = words.begins[stays], words.stops[stays]
    order = np.argsort(begin := np.concatenate(begins), kind="stable")
    return SpacedWords(lower, begin[order], np.concatenate(stops)[order], np.searchsorted(begin[order], made.starts))


def pieces(made: Characters, separators: str) -> tuple[Ints, Ints]:
    """(begins, stops) of what stands between the separators (ASCII), where that is not nothing."""
    gap = np.ones(len(made.data) + 1, dtype=bool)
    gap[1:] = made.marked(separators)
    gap[made.starts[1:]] = True
    edges = np.flatnonzero(gap[1:] != gap[:-1])
    return edges[::2].copy(), edges[1::2].copy()


def _stripped(special: Truths, data: Bytes, begins: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """Without the special characters at their ends, however many: looks at every byte of them."""
    lengths = stops - begins
    bounds = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum())) + np.repeat(begins - bounds, lengths)
    first = data[places].view(np.int8) >= -64  # of their character
    word = first & ~special[places]
    begin = np.minimum.reduceat(np.where(word, places, len(data)), bounds)
    last = np.maximum.reduceat(np.where(word, places, -1), bounds)
    return begin, np.where(last < 0, begin, last + _width(data[last]))


def _width(first: Bytes) -> Ints:
    """Bytes of the character that begins with this one."""
    found: Ints = 1 + (first >= 0xC0).astype(np.int64) + (first >= 0xE0) + (first >= 0xF0)
    return found


def _first_byte(data: Bytes, places: Ints) -> Ints:
    """Where the characters of these bytes begin."""
    for _ in range(3):
        inner = data[places].view(np.int8) < -64
        if not inner.any():
            break
        places = places - inner
    return places


# -- hashes ------------------------------------------------------------------------------------------------------------
def mix(values: Hashes) -> Hashes:
    """Spreads every bit over all of them."""
    mixed = values * _MIXER
    mixed ^= mixed >> _HALF
    mixed *= _MULTIPLIER
    mixed ^= mixed >> _HALF
    return mixed


def hash_words(words: Iterable[str]) -> Hashes:
    """The hashes that such words have in a text."""
    listed = [one for one in (word.encode("utf-8", "surrogatepass") for word in words) if one]
    lengths = np.array([len(word) for word in listed], dtype=np.int64)
    stops: Ints = np.cumsum(lengths)
    padded = np.frombuffer(b"".join(listed) + bytes(PAD), dtype=np.uint8)
    return hash_spans(padded, stops - lengths, stops)


def hash_spans(padded: Bytes, begins: Ints, stops: Ints) -> Hashes:
    """Of padded[begin:stop], none of them empty; PAD more bytes are there. The first eight bytes, the last eight, those between."""
    eights = _eights(padded)
    left = stops - begins
    found = eights[begins] & _KEPT.take(left, mode="clip")
    more = np.flatnonzero(left > 8)
    found[more] = mix(found[more]) + eights[stops[more] - 8]
    for at in range(8, LONG, 8):
        more = more[left[more] > at + 8]
        found[more] = mix(found[more]) + eights[begins[more] + at]
    more = more[left[more] > LONG + 8]
    tails = [
        blake2b(padded[begin + LONG : stop].data, digest_size=8).digest()
        for begin, stop in zip(begins[more], stops[more], strict=True)
    ]
    found[more] = mix(found[more]) + np.frombuffer(b"".join(tails), dtype="<u8")
    return mix(found * _MULTIPLIER + left.astype(np.uint64))


def neighbours(values: Hashes, num: int) -> Hashes:
    """The hash of each `num` values that stand together: as long as `values`, less num - 1. By doubling: 10 is 8 + 2."""
    made: Hashes | None = None
    covered, size, block, power = 0, 1, values, _MULTIPLIER
    wanted = num
    with np.errstate(over="ignore"):
        while wanted:
            if wanted & 1:
                made = block if made is None else _joined(made, block, covered, power)
                covered += size
            wanted >>= 1
            if wanted:
                block, power, size = _joined(block, block, size, power), power * power, size * 2
    assert made is not None
    return mix(made)


def _joined(left: Hashes, right: Hashes, covered: int, power: np.uint64) -> Hashes:
    """left * power + what of `right` begins `covered` further on. power: the base to the length of a block of `right`."""
    if len(right) <= covered:
        return np.zeros(0, dtype=np.uint64)
    after = right[covered:]
    return left[: len(after)] * power + after[: len(left)]


# -- how often each of them occurs -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Repeats:
    """Of every text: all n-grams, the different ones; and of each that occurs more than once: its text and how often it does."""

    total: Ints
    different: Ints
    row: Ints
    times: Ints

    def repeated(self) -> Ints:
        """Occurrences of n-grams that occur more than once, per text."""
        return np.bincount(self.row, weights=self.times, minlength=len(self.total)).astype(np.int64)


def repeats(hashes: Hashes, counts: Ints) -> Repeats:
    """counts: hashes of each text. A hash is cut so that it fits into 64 bits with the number of its text: 40 are left for 16 million."""
    bits = 64 - max(1, len(counts).bit_length())
    keys = np.repeat(np.arange(len(counts), dtype=np.uint64) << np.uint64(bits), counts)
    keys |= hashes >> np.uint64(64 - bits)
    keys.sort()
    again = np.flatnonzero(keys[1:] == keys[:-1])
    first = np.flatnonzero(np.diff(again, prepend=-2) != 1)
    row = (keys[again] >> np.uint64(bits)).astype(np.int64)
    times = np.diff(np.append(first, len(again))) + 1
    return Repeats(counts, counts - np.bincount(row, minlength=len(counts)), row[first], times)


def ngrams(values: Hashes, counts: Ints, num: int) -> tuple[Hashes, Ints]:
    """(hashes of `num` neighbours that are in one text, how many each text has). counts: values of each text."""
    return within(neighbours(values, num), counts, num)


def within(windows: Hashes, counts: Ints, num: int, *, apart: int = 0) -> tuple[Hashes, Ints]:
    """The windows of `num` values that are in one text, and how many each text has. counts: values of each text; after each of them stand
    `apart` more that are in none."""
    inside = np.ones(len(windows), dtype=bool)
    ends = np.cumsum(counts + apart) - apart
    for before in range(1 - apart, num):
        outside = ends - before
        inside[outside[(outside >= 0) & (outside < len(windows))]] = False
    return windows[inside], np.maximum(counts - num + 1, 0)


def byte_windows(padded: Bytes, num: int) -> Hashes:
    """The hash of each `num` bytes, 8 to 16 of them, that stand together before the padding: eight and the last eight."""
    eights = _eights(padded)
    length = max(0, len(padded) - PAD - num + 1)
    found: Hashes = eights[:length] * _MULTIPLIER
    found += eights[num - 8 : num - 8 + length]
    return mix(found)


def _eights(padded: Bytes) -> Hashes:
    """Eight bytes from every place."""
    return np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded, strides=(1,))
