"""Words of a batch of texts as arrays of numbers, made once and shared by all steps that count words.

A text is cut at white space; each distinct piece of the batch is cut into words once (there are ten times fewer of them), so that what
remains per occurrence is arithmetic on arrays. The rules of the cut are those of English tokenisers of the Penn-Treebank kind: punctuation
at the ends of a piece are words of their own, as are the parts of "it's", "foo/bar" and "well-known"; "3.14", "e.g.", "foo_bar", "--flag"
and URLs stay whole. Each Chinese character is a word.

    words.ids       int32[T]     word of each occurrence, an index into the batch's vocabulary
    words.offsets   int64[N+1]   text i has ids[offsets[i] : offsets[i + 1]]
    words.chars     int64[V]     characters of each word of the vocabulary; `texts` the words themselves

`Shingles` (for near-duplicates) come from another cut of the same pieces: lower case, without accents and punctuation, digits as 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Ints = np.ndarray[Any, np.dtype[np.int64]]
Ids = np.ndarray[Any, np.dtype[np.int32]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


def _pattern(letter: str, lower: str, digit: str, inner: str) -> str:
    """What a word is, with these classes of characters; the first alternative that fits wins. inner: letters, digits, marks and _."""
    return "|".join(
        (
            r"\p{Han}",
            rf"(?:https?|ftp|file|mailto)://?\S*[{letter}{digit}/]",
            rf"[{letter}{digit}._+-]+@[{letter}{digit}-]+\.[{letter}{digit}.-]*[{letter}{digit}]",
            r"^\S+¶$|\.\.+|[-~^|\\/@]{2,}$|(?:-=){2,}-?|-[-+=]{2,}",
            rf"\b(?:[{letter}]\.){{2,}}",
            rf"^[{letter}]\.$",
            r"['’](?:s|S|re|ve|ll|d|m|t)\b",
            rf"^[-/\\.@~|^]+[{inner}](?:[{inner}]|[-/.:=@][{inner}])*",
            rf"[{digit}]+(?:[.,:][{digit}]+)*(?:[{letter}_][{inner}]*)?",
            rf"[{letter}_][{inner}]*(?:(?:::|->|[(\[;\\|@&$+*])[{inner}]+|\.[{lower}{digit}_][{inner}]*|[-/:=<>~,][{digit}][{inner}]*|[:=/][<(\[{{\"'$]+[{inner}]+)*",
            r"\S",
        )
    )


_ASCII = _pattern("A-Za-z", "a-z", "0-9", "A-Za-z0-9_")
_UNICODE = _pattern(r"\p{L}\p{M}", r"\p{Ll}", r"\p{N}", r"\p{L}\p{M}\p{N}_")
_OPENING = "(\"'[{<“‘"
_OPENED = rf"^[{re.escape(_OPENING)}]+[-/\\.@~|^][\p{{L}}\p{{N}}_-]"
_CHINESE = r"^[\p{Han}、。，；：？！「」『』（）《》〈〉【】“”‘’…—·]+$"
_ABBREVIATION = (
    r"^(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Inc|Ltd|Co|Corp|vs|Jan|Feb|Mar|Apr|Aug|Sep|Sept|Oct|Nov|Dec|Gen|Gov|Sen|Rep|Rev)\.$"
)
_ASCII_DIGITS = "[0-9]+(?:[.,][0-9]+)?"
_DIGITS = r"\p{Nd}+(?:[.,]\p{Nd}+)?"
_PUNCTUATION = r"[\p{P}\p{Sm}\p{Sk}\p{Cc}$]"
_MARKS = r"\p{Mn}"
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth's multiplicative hashing)


@dataclass(frozen=True, slots=True)
class Pieces:
    """The batch cut at white space. ids: of each occurrence, into `distinct`."""

    distinct: pl.Series
    ids: Ids
    offsets: Ints

    def filter(self, mask: Truths) -> Pieces:
        ids, offsets = _taken(self.ids, self.offsets, mask)
        return Pieces(self.distinct, ids, offsets)


def pieces_of(text: pl.Series) -> Pieces:
    """At ASCII white space; other white space ends a word when a piece is cut."""
    parts = pc.ascii_split_whitespace(text.to_arrow())
    parts = parts.combine_chunks() if isinstance(parts, pa.ChunkedArray) else parts
    offsets = parts.offsets.to_numpy().astype(np.int64)
    coded = parts.values[offsets[0] : offsets[-1]].dictionary_encode()
    return Pieces(pl.Series(coded.dictionary).cast(pl.String), codes_of(coded), offsets - offsets[0])


def codes_of(coded: pa.DictionaryArray) -> Ids:
    found: Ids = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return found


@dataclass(frozen=True)
class Words:
    """See the module's docstring. texts: the vocabulary."""

    ids: Ids
    offsets: Ints
    texts: pl.Series

    @cached_property
    def chars(self) -> Ints:
        return self.texts.str.len_chars().to_numpy().astype(np.int64)

    @cached_property
    def chars_before(self) -> Ints:
        """int64[T + 1], characters of all words before each occurrence, and of all."""
        return _offsets(self.chars[self.ids])

    @cached_property
    def hashes(self) -> Hashes:
        """uint64[V], the same for a word in every batch, as long as polars is."""
        return self.texts.hash(0).to_numpy()

    @property
    def hashed(self) -> Hashed:
        return Hashed(self.hashes[self.ids], self.offsets)

    @property
    def counts(self) -> Ints:
        """int64[N], words of each text."""
        return np.diff(self.offsets)

    def matching(self, pattern: str) -> Truths:
        """bool[V], words of the vocabulary that contain the pattern (Rust regex)."""
        found: Truths = self.texts.str.contains(pattern).to_numpy()
        return found

    def sums(self, of_word: np.ndarray[Any, Any]) -> Ints:
        """int64[N], the sum over the words of each text of a number per word of the vocabulary."""
        running = np.zeros(len(self.ids) + 1, dtype=np.int64)
        np.cumsum(of_word[self.ids], out=running[1:])
        return running[self.offsets[1:]] - running[self.offsets[:-1]]

    @cached_property
    def owner(self) -> Ids:
        """int32[T], the text of each occurrence."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), self.counts)

    def filter(self, mask: Truths) -> Words:
        ids, offsets = _taken(self.ids, self.offsets, mask)
        return Words(ids, offsets, self.texts)


def words_of(text: pl.Series) -> Words:
    return cut(pieces_of(text))


def cut(pieces: Pieces) -> Words:
    """Words of the pieces: those that are one word as they are, the others by the rules."""
    distinct = pieces.distinct
    whole = distinct.str.contains(rf"^(?:[\p{{L}}_][\p{{L}}\p{{M}}\p{{N}}_]*|\p{{N}}+)$|{_ABBREVIATION}") & ~distinct.str.contains(
        r"\p{Han}"
    )
    return _joined(pieces, whole.to_numpy(), distinct.filter(whole), by_script(distinct.filter(~whole), _ASCII, _UNICODE))


def by_script(pieces: pl.Series, ascii_pattern: str, pattern: str) -> pl.Series:
    """All matches of a pattern in each piece; Chinese ones are cut into characters. An opening mark before something that holds on to its
    own first mark, as in (--flag, is a word of its own."""
    opened, chinese = pieces.str.contains(_OPENED), pieces.str.contains(_CHINESE)
    others = ~opened & ~chinese
    marks = pieces.filter(opened).str.extract(rf"^([{re.escape(_OPENING)}]+)").str.split("")
    bare = pieces.filter(opened).str.strip_chars_start(_OPENING)
    found = _matches(pl.concat([pieces.filter(others), bare]), ascii_pattern, pattern)
    words, inner = found.head(int(others.sum())), found.slice(int(others.sum()))
    return _together(
        (others, words),
        (chinese, pieces.filter(chinese).str.split("")),
        (opened, pl.select(pl.concat_list(marks, inner)).to_series() if opened.any() else inner),
    )


def _matches(pieces: pl.Series, ascii_pattern: str, pattern: str) -> pl.Series:
    """ASCII pieces by a pattern with classes that are ten times quicker. (One call for all that need the other: each call builds its
    automaton anew, which takes as long as thousands of pieces.)"""
    plain = pieces.str.len_bytes() == pieces.str.len_chars()
    return _together(
        (plain, pieces.filter(plain).str.extract_all(ascii_pattern)), (~plain, pieces.filter(~plain).str.extract_all(pattern))
    )


def _together(*parts: tuple[pl.Series, pl.Series]) -> pl.Series:
    """One series of (which places, what stands at them); each place is in one part."""
    place = np.concatenate([np.flatnonzero(mask.to_numpy()) for mask, _ in parts])
    order = np.empty(len(place), dtype=np.int64)
    order[place] = np.arange(len(place))
    return pl.concat([found for _, found in parts]).gather(order)


def folded(pieces: Pieces) -> Words:
    """Words that near-duplicates have in common: lower case, no accents, no punctuation, every number 0."""
    lower = pieces.distinct.str.to_lowercase()
    plain = lower.str.contains(r"^[a-z]+$")
    rest = lower.filter(~plain)
    ascii = rest.str.len_bytes() == rest.str.len_chars()
    chinese = rest.str.contains(_CHINESE)
    other = ~ascii & ~chinese
    parted = rest.filter(other).str.replace_all(_DIGITS, "0").str.replace_all(_PUNCTUATION, " ").str.normalize("NFD")
    lists = _together(
        (ascii, rest.filter(ascii).str.replace_all(_ASCII_DIGITS, "0").str.extract_all("[a-z0]+")),
        (chinese, rest.filter(chinese).str.replace_all(_PUNCTUATION, "").str.normalize("NFD").str.split("")),
        (other, parted.str.replace_all(_MARKS, "").str.extract_all(r"\p{Han}|[^\s\p{Han}]+")),
    )
    return _joined(pieces, plain.to_numpy(), lower.filter(plain), lists)


def _joined(pieces: Pieces, whole: Truths, single: pl.Series, lists: pl.Series) -> Words:
    """Every occurrence of a piece becomes the words of that piece. single: words of the pieces that are one word (`whole`)."""
    many = lists.list.len().to_numpy().astype(np.int64)
    flat = lists.explode(empty_as_null=False) if many.sum() else pl.Series([], dtype=pl.String)
    coded = pl.concat([single.alias("w"), flat.alias("w")]).to_arrow().dictionary_encode()
    codes = codes_of(coded)
    counts = np.ones(len(whole), dtype=np.int64)
    counts[~whole] = many
    starts = np.zeros(len(whole), dtype=np.int64)
    starts[whole] = np.arange(len(single))
    starts[~whole] = len(single) + np.cumsum(many) - many
    occurrences = counts[pieces.ids]
    ends = np.concatenate([[0], np.cumsum(occurrences)])
    place = np.arange(ends[-1]) + np.repeat(starts[pieces.ids] - ends[:-1], occurrences)
    return Words(codes[place], ends[pieces.offsets], pl.Series(coded.dictionary).cast(pl.String))


@dataclass(frozen=True, slots=True)
class Hashed:
    """Text i has the words each[offsets[i] : offsets[i + 1]], one hash for each."""

    each: Hashes
    offsets: Ints

    @property
    def counts(self) -> Ints:
        """int64[N], words of each text."""
        return np.diff(self.offsets)


def shingles(words: Hashed, size: int) -> tuple[Hashes, Ints]:
    """Hashes of all windows of `size` words of each text, and the offsets of the texts in them. A text of fewer words has none."""
    rolled = rolling(words.each, size)
    counts = np.maximum(words.counts - size + 1, 0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    place = np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], counts)
    return rolled[place], offsets


def rolling(each: Hashes, size: int) -> Hashes:
    """uint64[T - size + 1], hash of the window of `size` words that begins at each occurrence, text borders ignored."""
    num = max(0, len(each) - size + 1)
    found = np.zeros(num, dtype=np.uint64)
    for shift in range(size):
        found *= _MIX
        found += each[shift : shift + num]
    return mixed(found)


def hash_of(hashes: Hashes) -> np.uint64:
    """Of one window, whatever its length."""
    found = np.zeros(1, dtype=np.uint64)
    for one in hashes:
        found = found * _MIX + one
    return np.uint64(mixed(found)[0])


def mixed(hashes: Hashes) -> Hashes:
    """The finaliser of MurmurHash3 (Appleby 2011): every bit of the input moves every bit of the output."""
    found = hashes ^ (hashes >> np.uint64(33))
    found *= np.uint64(0xFF51AFD7ED558CCD)
    found ^= found >> np.uint64(33)
    found *= np.uint64(0xC4CEB9FE1A85EC53)
    found ^= found >> np.uint64(33)
    return found


def _offsets(counts: np.ndarray[Any, Any]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _taken(ids: Ids, offsets: Ints, mask: Truths) -> tuple[Ids, Ints]:
    counts = np.diff(offsets)
    return ids[np.repeat(mask, counts)], _offsets(counts[mask])
