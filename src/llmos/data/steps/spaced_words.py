"""Words as the filters of ROOTS and Data-Juicer see them, and hashes of words and of neighbours, for a whole batch at once.

A text is cut at spaces, line feeds and tabs; each piece loses the special characters (characters.py) at its ends, and what is then
empty is no word: "Hello,  (world) - 42" has 2. A word is never a string here but a place in the batch and a 64-bit hash, so that
counting stop words or repeated 10-grams is arithmetic on arrays.

Hashes are polynomials over 64-bit integers: sum of x_i * B^i, mixed. Two different words of a batch of a million have the
same one with a probability of about 3e-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from llmos.data.steps.characters import Characters, Ints, Kind, Truths

Hashes = np.ndarray[Any, np.dtype[np.uint64]]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd; 2^64 over the golden ratio
_MIXER = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64 (Steele, Lea, Flood 2014)
_HALF = np.uint64(32)
_FIRST = np.uint64(48)


@dataclass(frozen=True)
class SpacedWords:
    """Word i is characters[begins[i]:stops[i]]; text t has the words bounds[t]:bounds[t + 1]."""

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
        sums = np.concatenate([[0], np.cumsum(self.stops - self.begins)])
        found: Ints = sums[self.bounds[1:]] - sums[self.bounds[:-1]]
        return found

    @cached_property
    def hashes(self) -> Hashes:
        """One for each word."""
        return hash_spans(self.characters.codes, self.begins, self.stops)

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
    codes = made.codes
    inner = (made.kinds & Kind.SPECIAL) == 0
    inner[made.ends] = False
    places = np.flatnonzero(inner)
    gap = (codes == 32) | (codes == 10) | (codes == 9)
    piece = np.cumsum(gap, dtype=np.int32)[places]
    first = np.flatnonzero(np.diff(piece, prepend=-1))
    begins = places[first]
    stops = places[np.append(first[1:], len(places))[: len(first)] - 1] + 1
    return SpacedWords(made, begins, stops, np.searchsorted(begins, made.starts))


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
    listed = [word for word in words if word]
    if not listed:
        return np.zeros(0, dtype=np.uint64)
    stops = np.cumsum([len(word) for word in listed])
    codes = np.frombuffer("".join(listed).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return hash_spans(codes, stops - [len(word) for word in listed], stops)


def hash_spans(codes: np.ndarray[Any, np.dtype[np.uint32]], begins: Ints, stops: Ints) -> Hashes:
    """Of codes[begin:stop], none of them empty: differences of one running sum over all codes, moved to the same place."""
    powers, inverses = _powers(len(codes))
    running = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=running[1:])
    return mix((running[stops] - running[begins]) * inverses[begins])


@lru_cache(maxsize=1)
def _powers_up_to(num: int) -> tuple[Hashes, Hashes]:
    found = []
    for base in (_MULTIPLIER, np.uint64(pow(int(_MULTIPLIER), -1, 1 << 64))):
        powers = np.full(num, base, dtype=np.uint64)
        powers[0] = 1
        np.multiply.accumulate(powers, out=powers)
        found.append(powers)
    return found[0], found[1]


def _powers(num: int) -> tuple[Hashes, Hashes]:
    """The powers of the base and of its inverse modulo 2^64, at least so many; made for the next power of two."""
    return _powers_up_to(1 << max(10, num.bit_length()))


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


def repeats(hashes: Hashes, row: Ints, num_rows: int) -> Repeats:
    """row: of each hash, which text it is in. The hash is cut so that both fit into 64 bits: 40 are left for 16 million texts."""
    bits = np.uint64(64 - max(1, int(num_rows).bit_length()))
    keys = (row.astype(np.uint64) << bits) | (hashes >> (np.uint64(64) - bits))
    keys.sort()
    fresh: Truths = np.ones(len(keys), dtype=bool)
    fresh[1:] = keys[1:] != keys[:-1]
    places = np.flatnonzero(fresh)
    times = np.diff(np.append(places, len(keys)))
    run_row = (keys[places] >> bits).astype(np.int64)
    many = times > 1
    total = np.bincount(row, minlength=num_rows)
    return Repeats(total, np.bincount(run_row, minlength=num_rows), run_row[many], times[many])


def ngrams(hashes: Hashes, row: Ints, num: int) -> tuple[Hashes, Ints]:
    """Hashes of `num` neighbours that are in one text, and its number."""
    made = neighbours(hashes, num)
    if not len(made):
        return made, row[:0]
    inside = row[: len(made)] == row[num - 1 :]
    return made[inside], row[: len(made)][inside]
