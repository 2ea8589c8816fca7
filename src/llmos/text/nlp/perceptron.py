"""The English tagger: a first-order structured perceptron (Collins 2002), decoded for thousands of sentences at once.

    score(tags) = sum over words of  w[feature, tag]  of the word and its neighbours  +  w[tag before, tag]

Every feature depends on one word only (its own form, or that of a neighbour), so scores are tables over the different words of a
batch, and a position is a sum of five rows. The best tags are found by the Viterbi algorithm over the CANDIDATES best tags of each
position (fewer than all; a tag beyond them is hardly ever right), one step for all sentences together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmos.errors import CorruptFile
from llmos.infra.files import make_dir, write_atomic

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
CANDIDATES = 8
ROLES = (-2, -1, 0, 1, 2)  # neighbours, by distance
OUTSIDE = ""  # the word before the first and after the last one
_BATCH_WORDS = 16_384
_MAX_REMEMBERED = 100_000
_MAX_CHARACTERS = 48  # of a word, for its features
_PLAIN_SIGNS = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "—": "--", "–": "-", "…": "..."}
)
_FORMAT = "llmos-perceptron-1"


@lru_cache(_MAX_REMEMBERED)
def own_features(word: str, first: bool) -> tuple[str, ...]:
    """Features of a word at its place; `first` in a sentence, where a capital says nothing."""
    small = word.lower()
    shape = _shape(word)
    ends = [f"s{size}{small[-size:]}" for size in (1, 2, 3, 4, 5) if len(small) > size]
    starts = [f"p{size}{small[:size]}" for size in (1, 2, 3) if len(small) > size]
    form = "f" + shape if first else "h" + shape
    return (
        "l" + small,
        form,
        "w" + word if not first else "W" + small,
        *ends,
        *starts,
        form + small[-2:],
        *(("-" + small.rsplit("-", 1)[1],) if "-" in small[1:] else ()),
    )


@lru_cache(_MAX_REMEMBERED)
def near_features(word: str, distance: int) -> tuple[str, ...]:
    """Features that a word is to a neighbour at this distance."""
    small, mark = word.lower(), f"{distance:+d}"
    if abs(distance) == 2:
        return (f"{mark}l{small}", f"{mark}s{small[-2:]}")
    return (f"{mark}l{small}", f"{mark}s{small[-3:]}", f"{mark}h{_shape(word)}{small[-1:]}")


@lru_cache(_MAX_REMEMBERED)
def plain(word: str) -> str:
    """The word as the tagger knows it: quotes and dashes of all kinds are one, as corpora and people write them differently."""
    signs = word[:_MAX_CHARACTERS].translate(_PLAIN_SIGNS)
    return '"' if signs in ("``", "''") else signs


def _shape(word: str) -> str:
    """Runs of capitals, small letters, digits and marks: Xx, X, x, 9, x-x."""
    shape = ""
    for sign in word[:20]:
        kind = "X" if sign.isupper() else "x" if sign.isalpha() else "9" if sign.isdigit() else sign
        if shape[-1:] != kind:
            shape += kind
    return shape


@dataclass(frozen=True)
class Layout:
    """Words of many sentences in one row. types: the different (word, first in its sentence); at: the type at each place;
    starts: the place of each sentence's first word, and the end of all."""

    types: list[tuple[str, bool]]
    at: Ints
    starts: Ints

    @classmethod
    def of(cls, sentences: Sequence[Sequence[str]]) -> Layout:
        numbers: dict[tuple[str, bool], int] = {(OUTSIDE, False): 0}
        at: list[int] = []
        starts = [0]
        for sentence in sentences:
            at += [numbers.setdefault((plain(word), place == 0), len(numbers)) for place, word in enumerate(sentence)]
            starts.append(len(at))
        return cls(list(numbers), np.array(at, np.int32), np.array(starts, np.int32))

    def neighbours(self, distance: int) -> Ints:
        """The type at that distance from each place, 0 outside of its sentence."""
        lengths = np.diff(self.starts)
        inside = np.arange(len(self.at)) - np.repeat(self.starts[:-1], lengths) + distance
        kept = (inside >= 0) & (inside < np.repeat(lengths, lengths))
        moved = np.zeros_like(self.at)
        moved[kept] = self.at[np.flatnonzero(kept) + distance]
        return moved


@dataclass(frozen=True)
class Tagger:
    """weights [features + 1, tags]: the last row is 0, for features that are not known. follow [tags + 1, tags]: of a tag after
    another; the last row is the start of a sentence."""

    tags: tuple[str, ...]
    features: Mapping[str, int]
    weights: Floats
    follow: Floats

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The native tags of sentences cut into words, each at least one."""
        tagged: list[list[str]] = []
        for batch in _batches(sentences):
            layout = Layout.of(batch)
            chosen = viterbi(self._scores(layout), layout.starts, self.follow).tolist()
            bounds = layout.starts.tolist()
            tagged += [[self.tags[tag] for tag in chosen[start:end]] for start, end in pairwise(bounds)]
        return tagged

    def _scores(self, layout: Layout) -> Floats:
        """[places, tags]."""
        total = np.zeros((len(layout.at), len(self.tags)), np.float32)
        for distance in ROLES:
            ids = feature_ids(layout.types, distance, self.features)
            table = np.zeros((len(layout.types), len(self.tags)), np.float32)
            for column in ids.T:
                table += self.weights[column]
            total += table[layout.neighbours(distance) if distance else layout.at]
        return total

    def save(self, path: Path) -> None:
        """One safetensors file: the weights that are not 0, as (tag, 16-bit float) under each feature, and the names."""
        from safetensors.numpy import save

        held = self.weights[:-1]
        rows, columns = np.nonzero(held)
        names = sorted(self.features, key=self.features.__getitem__)
        arrays = {
            "ends": np.cumsum(np.bincount(rows, minlength=len(held))).astype(np.int32),
            "tag": columns.astype(np.uint8),
            "weight": held[rows, columns].astype(np.float16),
            "follow": self.follow,
        }
        make_dir(path.parent)
        write_atomic(path, save(arrays, {"format": _FORMAT, "tags": json.dumps(self.tags), "features": json.dumps(names)}))

    @classmethod
    def open(cls, path: Path) -> Tagger:
        """Raises CorruptFile when the file is not one that `save` wrote."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                facts = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in ("ends", "tag", "weight", "follow")}
            if facts.get("format") != _FORMAT:
                raise ValueError("another format")
            tags, names = tuple(json.loads(facts["tags"])), json.loads(facts["features"])
            weights = np.zeros((len(names) + 1, len(tags)), np.float32)
            counts = np.diff(arrays["ends"], prepend=0)
            weights[np.repeat(np.arange(len(names)), counts), arrays["tag"]] = arrays["weight"]
        except (SafetensorError, KeyError, ValueError, IndexError) as problem:
            raise CorruptFile(f"{path} is no tagger of LLMOS: {problem}.", hint=f"Delete {path}; it is made anew.") from None
        return cls(tags, {name: number for number, name in enumerate(names)}, weights, arrays["follow"])


def feature_ids(types: Sequence[tuple[str, bool]], distance: int, features: Mapping[str, int]) -> Ints:
    """[types, width]: the numbers of each type's features at that distance; unknown ones and the rest point at the last row."""
    zero = len(features)
    named = [own_features(*one) if distance == 0 else near_features(one[0], distance) for one in types]
    ids = np.full((len(types), max(map(len, named))), zero, np.int32)
    for row, names in enumerate(named):
        ids[row, : len(names)] = [features.get(name, zero) for name in names]
    return ids


def viterbi(scores: Floats, starts: Ints, follow: Floats) -> Ints:
    """The tag of each place in the best sequence of each sentence, over the CANDIDATES best tags of every place.

    Sentences go in order of length, so that at step t those that have a t-th word are the first `alive` ones.
    """
    num_kept = min(CANDIDATES, scores.shape[1])
    kept = np.argpartition(scores, -num_kept, axis=1)[:, -num_kept:]
    own = np.take_along_axis(scores, kept, axis=1)
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")
    firsts, lengths = starts[:-1][order], lengths[order]
    alive = np.searchsorted(-lengths, -np.arange(1, lengths[0] + 1), side="right") if len(lengths) else np.zeros(0, int)
    back = np.zeros(kept.shape, np.int8)
    best = own[firsts] + follow[-1][kept[firsts]]
    lasts = best.copy()
    for step in range(1, len(alive)):
        num = alive[step]
        at = firsts[:num] + step
        moved = best[:num, :, None] + follow[kept[at - 1][:, :, None], kept[at][:, None, :]]
        back[at] = moved.argmax(axis=1)
        best = moved.max(axis=1) + own[at]
        lasts[:num] = best
    chosen = np.zeros(len(scores), np.int32)
    pick = lasts.argmax(axis=1)
    for step in range(len(alive) - 1, -1, -1):
        num = alive[step]
        at = firsts[:num] + step
        chosen[at] = kept[at, pick[:num]]
        pick[:num] = back[at, pick[:num]]
    return chosen


def _batches(sentences: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    batches: list[list[Sequence[str]]] = []
    size = _BATCH_WORDS
    for sentence in sentences:
        if size + len(sentence) > _BATCH_WORDS:
            batches.append([])
            size = 0
        batches[-1].append(sentence)
        size += len(sentence)
    return batches
