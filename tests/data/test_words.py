"""Words, shingles and repeated windows against definitions written out plainly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.data.repetition import covered, most_frequent, windows
from llmos.data.words import Words, folded, pieces_of, rolling, shingles, words_of
from tests.data.texts import documents


def listed(words: Words) -> list[list[str]]:
    texts = words.texts.to_list()
    bounds = zip(words.offsets[:-1].tolist(), words.offsets[1:].tolist(), strict=True)
    return [[texts[number] for number in words.ids[start:end].tolist()] for start, end in bounds]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a well-known thing, isn't it?", ["It", "'s", "a", "well", "-", "known", "thing", ",", "isn", "'t", "it", "?"]),
        ("See https://example.org/a_b?c=d. OK", ["See", "https://example.org/a_b?c=d", ".", "OK"]),
        ("pi is 3.14, e.g. 1,000.5 at 10:30", ["pi", "is", "3.14", ",", "e.g.", "1,000.5", "at", "10:30"]),
        ("--flag foo_bar(x) std::vector a->b", ["--flag", "foo_bar(x", ")", "std::vector", "a->b"]),
        ("foo/bar x=3 1-2 Mr. Smith etc.", ["foo", "/", "bar", "x=3", "1", "-", "2", "Mr.", "Smith", "etc", "."]),
        ("我爱 LLM，你好。", ["我", "爱", "LLM", "，", "你", "好", "。"]),
        ("a\u00a0b\u2003c", ["a", "b", "c"]),
        ("(\u201cquoted\u201d) \u2026", ["(", "\u201c", "quoted", "\u201d", ")", "\u2026"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_cut(text: str, words: list[str]) -> None:
    assert listed(words_of(pl.Series([text]))) == [words]


def test_folded_words_are_what_near_duplicates_share() -> None:
    one, other = listed(folded(pieces_of(pl.Series(["The Café's 1,234 items - “new”!", "the cafe s 5.6 ITEMS new"]))))
    assert one == other == ["the", "cafe", "s", "0", "items", "new"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_is_cut_and_nothing_but_space_is_lost(texts: list[str]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    words = words_of(column)
    assert [visible("".join(one)) for one in listed(words)] == [visible(text) for text in texts]
    assert words.offsets[-1] == len(words.ids)


def visible(text: str) -> str:
    return "".join(char for char in text if char.isprintable() and not char.isspace())


def test_shingles_are_equal_exactly_for_equal_windows() -> None:
    texts = pl.Series(["a b c d e f", "x a b c d e", "a b", "c d e f a b c d e"])
    words = folded(pieces_of(texts))
    hashes, offsets = shingles(words.hashed, 5)
    found: dict[tuple[str, ...], set[int]] = {}
    for text, (start, end) in zip(listed(words), zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True), strict=True):
        grams = [tuple(text[place : place + 5]) for place in range(len(text) - 4)]
        assert len(grams) == end - start
        for gram, value in zip(grams, hashes[start:end].tolist(), strict=True):
            found.setdefault(gram, set()).add(value)
    assert all(len(values) == 1 for values in found.values())
    assert len(set.union(*found.values())) == len(found)
    assert len(rolling(words.hashed.each, 30)) == 0


# -- the definitions of Gopher, one text at a time -----------------------------------------------------------------------
def plain_covered(words: list[str], size: int) -> int:
    seen: set[str] = set()
    place = total = 0
    while place <= len(words) - size:
        gram = "\0".join(words[place : place + size])
        if gram in seen:
            total += sum(map(len, words[place : place + size]))
            place += size
        else:
            seen.add(gram)
            place += 1
    return total


def plain_most_frequent(words: list[str], size: int) -> int:
    grams = [" ".join(words[place : place + size]) for place in range(len(words) - size + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


_SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10)


def measure(texts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    words = words_of(pl.Series(texts))
    top, dup = [], []
    for size, places, hashes in windows(words, _SIZES, np.ones(len(texts), dtype=bool)):
        top.append(most_frequent(words, size, places, hashes).tolist())
        dup.append(covered(words, size, places, hashes).tolist())
    return top, dup


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=60), min_size=1, max_size=5))
def test_repeated_windows_of_little_texts(texts: list[list[str]]) -> None:
    top, dup = measure([" ".join(words) for words in texts])
    for place, size in enumerate(_SIZES):
        assert top[place] == [plain_most_frequent(words, size) for words in texts]
        assert dup[place] == [plain_covered(words, size) for words in texts]


def test_repeated_windows_of_real_texts() -> None:
    texts = documents()[:300]
    split = listed(words_of(pl.Series(texts)))
    top, dup = measure(texts)
    for place, size in enumerate(_SIZES):
        assert top[place] == [plain_most_frequent(words, size) for words in split]
        assert dup[place] == [plain_covered(words, size) for words in split]
    assert any(dup[-1])
