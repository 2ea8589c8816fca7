"""Repeated n-grams of words within each text, exactly as the definitions of Gopher count them, over a whole batch at once.

Sorting all windows of a batch tells which occur twice. A window of n + 1 words can only be repeated where its first n words are, so each
size looks only at what the size before left. The greedy count of `covered` visits only such places.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from llmos.data.words import Hashes, Ints, Words, mixed

Truths = np.ndarray[Any, np.dtype[np.bool_]]


def windows(words: Words, sizes: Sequence[int], of: Truths) -> Iterator[tuple[int, Ints, Hashes]]:
    """(size, places, hashes) for ascending sizes: every place where a window of that size begins that its text has more than once (and a
    few others), and a hash that is equal exactly for equal windows of one text. of: bool[N], the
    texts to look at; the caller may take some out between two sizes."""
    salt = mixed(np.arange(1, len(words.offsets), dtype=np.uint64))
    each = words.hashes[words.ids]
    places, text = np.arange(len(each), dtype=np.int64), words.owner
    rolled = each + salt[text]
    room = words.offsets[1:][text] - places  # words from a place to the end of its text
    size = 1

    def keep(mask: Truths) -> None:
        nonlocal places, text, rolled, room
        if not mask.all():
            left = np.flatnonzero(mask)
            places, text, rolled, room = places[left], text[left], rolled[left], room[left]

    for wanted in sizes:
        keep(of[text])
        while size < wanted:
            keep(room > size)
            rolled = rolled * np.uint64(0x9E3779B97F4A7C15) + each[places + size]
            size += 1
            # between the wanted sizes nothing is sorted: more places stay than must, never fewer
        keep(repeated(rolled))
        yield wanted, places, rolled


def repeated(hashes: Hashes) -> Truths:
    """Which values occur more than once; a few that do not may be among them (at most one of sixteen)."""
    ordered = np.sort(hashes)
    doubles = ordered[1:][ordered[1:] == ordered[:-1]]
    bits = min(26, len(doubles).bit_length() + 4)
    shift = np.uint64(64 - bits)
    table = np.zeros(1 << bits, dtype=bool)
    table[doubles >> shift] = True
    found: Truths = table[hashes >> shift]
    return found


def covered(words: Words, size: int, places: Ints, hashes: Hashes) -> Ints:
    """int64[N], characters (white space aside) in repeated windows of each text. Read from its beginning: a window that was seen counts
    and is jumped over, any other is remembered. places, hashes: of `windows`."""
    found = np.zeros(len(words.offsets) - 1, dtype=np.int64)
    if not len(places):
        return found
    running = words.chars_before
    lengths = (running[places + size] - running[places]).tolist()
    text_of = words.owner[places]
    borders = [*np.flatnonzero(np.concatenate([[True], text_of[1:] != text_of[:-1]])).tolist(), len(places)]
    where, what = places.tolist(), hashes.tolist()
    for start, end in pairwise(borders):
        seen: set[int] = set()
        total, number = 0, start
        while number < end:
            if what[number] in seen:
                total += lengths[number]
                number = bisect_left(where, where[number] + size, number, end)
            else:
                seen.add(what[number])
                number += 1
        found[text_of[start]] = total
    return found


def most_frequent(words: Words, size: int, places: Ints, hashes: Hashes) -> Ints:
    """int64[N], characters of the most frequent window of each text times how often it occurs; of equally frequent ones the first. The
    words of a window are joined by one space. Where no window occurs twice it is the first one, once."""
    running = words.chars_before
    begin = words.offsets[:-1]
    found = np.where(words.counts >= size, running[np.minimum(begin + size, len(words.ids))] - running[begin] + size - 1, 0)
    if not len(places):
        return found
    order = np.argsort(hashes)  # equal windows side by side
    ordered = hashes[order]
    heads = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.concatenate([heads, [len(order)]]))
    first = np.minimum.reduceat(places[order], heads)[counts > 1]
    counts = counts[counts > 1]
    texts = words.owner[first]
    best = np.lexsort((first, -counts, texts))
    chosen = best[np.diff(texts[best], prepend=-1) != 0]
    spans = running[first[chosen] + size] - running[first[chosen]] + size - 1
    found[texts[chosen]] = spans * counts[chosen]
    return found
