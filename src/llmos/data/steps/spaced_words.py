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
        found = np.zeros(len(self.hashes), dtype=bool)
        slots = (self.hashes >> _FIRST).astype(np.int64)
        wanted = np.unique(hash_words(listed))
        while len(wanted):  # once, or again for those that share a slot with another
            slot, first = np.unique(wanted >> _FIRST, return_index=True)
            table = np.zeros(1 << 16, dtype=np.uint64)
            table[slot] = wanted[first]
            found |= table[slots] == self.hashes
            wanted = np.delete(wanted, first)
        sums = np.concatenate([[0], np.cumsum(found)])
        counted: Ints = sums[self.bounds[1:]] - sums[self.bounds[:-1]]
        return counted


def spaced_words(made: Characters, of: Truths | None = None) -> SpacedWords:
    """Runs of bytes that are not special, those of one piece together. of: the texts whose words are wanted; the others have none then."""
    special, gap = made.whole(Kind.SPECIAL), made.marked(" \n\t")
    for text in np.flatnonzero(~of).tolist() if of is not None else ():
        special[made.starts[text] : made.starts[text + 1]] = True
    special[made.ends] = gap[made.ends] = True
    begins, stops = runs(special)
    inside = ~(gap[stops[:-1]] | gap[begins[1:] - 1])  # what stands before the next run may be inside of the same word: "don't"
    far = np.flatnonzero(inside & (begins[1:] - stops[:-1] > 2))
    if len(far):
        sizes = begins[far + 1] - stops[far]
        firsts = np.cumsum(sizes) - sizes
        places = np.arange(int(sizes.sum())) + np.repeat(stops[far] - firsts, sizes)
        inside[far] = ~np.logical_or.reduceat(gap[places], firsts)
    begins, stops = begins[np.append(True, ~inside)[: len(begins)]], stops[np.append(~inside, True)[: len(stops)]]
    return SpacedWords(made, begins, stops, np.searchsorted(begins, made.starts))


def lower_words(words: SpacedWords, lower: Characters, of: Truths | None = None) -> SpacedWords:
    """Words of the same texts in lower case: where they were, but in texts where a special character has become another or the reverse."""
    made = words.characters
    if lower.starts is not made.starts:
        return spaced_words(lower, of)
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
    gap = made.marked(separators)
    gap[made.ends] = True
    return runs(gap)


def runs(gap: Truths) -> tuple[Ints, Ints]:
    """(begins, stops) of what is false. The last is true."""
    edges = np.flatnonzero(gap[1:] != gap[:-1]) + 1
    if len(gap) and not gap[0]:
        edges = np.append(0, edges)
    return edges[::2], edges[1::2]


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


def repeats(blocks: Iterable[tuple[Hashes, Ints]]) -> Repeats:
    """blocks: hashes of some texts one after the other, and how many each text has. A hash is cut so that it fits into 64 bits with the
    number of its text in the block: 40 are left for 16 million. What is sorted should fit into a processor's cache."""
    counts, places, rows = [], [], []
    texts = num = 0
    for hashes, each in blocks:
        bits = 64 - max(1, len(each).bit_length())
        key = np.repeat(np.arange(len(each), dtype=np.uint64) << np.uint64(bits), each)
        key |= hashes >> np.uint64(64 - bits)
        key.sort()
        again = np.flatnonzero(key[1:] == key[:-1])
        counts.append(each)
        places.append(again + num)
        rows.append((key[again] >> np.uint64(bits)).astype(np.int64) + texts)
        texts, num = texts + len(each), num + len(key)
    total, again, row = _together(counts), _together(places), _together(rows)
    first = np.flatnonzero(np.diff(again, prepend=-2) != 1)  # the last of a block is never among them
    times = np.diff(np.append(first, len(again))) + 1
    return Repeats(total, total - np.bincount(row, minlength=texts), row[first], times)


def _together(parts: list[Any]) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def ngrams(values: Hashes, counts: Ints, num: int) -> tuple[Hashes, Ints]:
    """(hashes of `num` neighbours that are in one text, how many each text has). counts: values of each text."""
    return within(neighbours(values, num), counts, num)


def within(windows: Hashes, counts: Ints, num: int, *, apart: int = 0) -> tuple[Hashes, Ints]:
    """The windows of `num` values that are in one text, and how many each text has. counts: values of each text; after each of them stand
    `apart` more that are in none."""
    sizes = np.maximum(counts - num + 1, 0)
    begins = np.cumsum(counts + apart) - counts - apart
    pieces = [windows[begin : begin + size] for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True) if size]
    return (np.concatenate(pieces) if pieces else windows[:0]), sizes


def byte_windows(padded: Bytes, num: int) -> Hashes:
    """A number for each `num` bytes, 8 to 16 of them, that stand together before the padding: eight times a constant and the last eight.
    Others have others, as far as chance goes; it is not mixed."""
    eights = _eights(padded)
    length = max(0, len(padded) - PAD - num + 1)
    found: Hashes = eights[:length] * _MULTIPLIER
    found += eights[num - 8 : num - 8 + length]
    return found


def _eights(padded: Bytes) -> Hashes:
    """Eight bytes from every place."""
    return np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded, strides=(1,))
