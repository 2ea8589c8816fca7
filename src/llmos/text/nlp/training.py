"""Trains the English tagger: the averaged structured perceptron of Collins (2002) over small batches of sentences.

For each batch the tagger tags with the weights it has; where it errs, the features of the right tags gain 1 and those of the
wrong ones lose 1. The weights kept are the mean over all batches, which forgives the last examples their weight. Same sentences
and seed, same tagger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from llmos.text.nlp.perceptron import (
    ROLES,
    Floats,
    Ints,
    Layout,
    Tagger,
    feature_ids,
    near_features,
    own_features,
    viterbi,
)

Tagged = Sequence[tuple[str, str]]
NUM_EPOCHS = 8
BATCH_SENTENCES = 64
MIN_COUNT = 2  # a feature seen once says nothing about words not seen
SMALLEST = 0.02  # of an averaged weight; smaller ones decide nothing and are not kept


def train(
    sentences: Sequence[Tagged], *, num_epochs: int = NUM_EPOCHS, seed: int = 0, told: Callable[[int, float], None] | None = None
) -> Tagger:
    """sentences: (word, tag) each. told(epoch, accuracy on the sentences while learning)."""
    words = [[word for word, _ in one] for one in sentences]
    tags = tuple(sorted({tag for one in sentences for _, tag in one}))
    number = {tag: place for place, tag in enumerate(tags)}
    gold = np.array([number[tag] for one in sentences for _, tag in one], np.int32)
    layout = Layout.of(words)
    features = _features(layout)
    ids = _position_ids(layout, features)
    weights = np.zeros((len(features) + 1, len(tags)), np.float32)
    follow = np.zeros((len(tags) + 1, len(tags)), np.float32)
    learner = _Learner(weights, follow)
    draw = np.random.default_rng(seed)
    for epoch in range(num_epochs):
        right = sum(learner.learn(ids, gold, layout.starts, batch) for batch in _draws(draw, len(sentences)))
        if told:
            told(epoch, right / len(gold))
    return _pruned(Tagger(tags, features, *learner.mean()))


def _draws(draw: np.random.Generator, num: int) -> list[Ints]:
    order = draw.permutation(num).astype(np.int32)
    return [order[start : start + BATCH_SENTENCES] for start in range(0, num, BATCH_SENTENCES)]


def _features(layout: Layout) -> dict[str, int]:
    """The features that occur at least MIN_COUNT times, numbered."""
    counts: Counter[str] = Counter()
    times = np.bincount(layout.at, minlength=len(layout.types)).tolist()
    times[0] = MIN_COUNT  # outside: at every sentence's edges
    for (word, first), num in zip(layout.types, times, strict=True):
        for distance in ROLES:
            for name in near_features(word, distance) if distance else own_features(word, first):
                counts[name] += num
    return {name: place for place, name in enumerate(sorted(name for name, num in counts.items() if num >= MIN_COUNT))}


def _position_ids(layout: Layout, features: dict[str, int]) -> Ints:
    """[places, width]: all features at a place, those of its neighbours included."""
    parts = []
    for distance in ROLES:
        ids = feature_ids(layout.types, distance, features)
        parts.append(ids[layout.neighbours(distance) if distance else layout.at])
    return np.concatenate(parts, axis=1)


class _Learner:
    """The weights as they are, and the sums that give their mean: mean = weights - late / batches (Daume 2006, section 2.1.1)."""

    def __init__(self, weights: Floats, follow: Floats) -> None:
        self._weights, self._follow = weights, follow
        self._late_weights, self._late_follow = np.zeros_like(weights), np.zeros_like(follow)
        self._num_batches = 0

    def learn(self, ids: Ints, gold: Ints, starts: Ints, batch: Ints) -> int:
        """One batch of sentences; how many words were tagged right before the change."""
        lengths = starts[batch + 1] - starts[batch]
        own_starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        places = np.repeat(starts[batch] - own_starts[:-1], lengths) + np.arange(own_starts[-1])
        rows, right = ids[places], gold[places]
        scores = np.zeros((len(places), self._weights.shape[1]), np.float32)
        for column in range(rows.shape[1]):
            scores += self._weights[rows[:, column]]
        found = viterbi(scores, own_starts, self._follow)
        wrong = np.flatnonzero(found != right)
        for tags, step in ((right, 1.0), (found, -1.0)):
            self._add(self._weights, self._late_weights, rows[wrong], tags[wrong][:, None], step)
            before = np.concatenate([[0], tags[:-1]])
            before[own_starts[:-1]] = len(self._follow) - 1
            self._add(self._follow, self._late_follow, before, tags, step)
        self._weights[-1] = self._late_weights[-1] = 0
        self._num_batches += 1
        return len(places) - len(wrong)

    def _add(self, weights: Floats, late: Floats, rows: Ints, columns: Ints, step: float) -> None:
        at = (rows.astype(np.int64) * weights.shape[1] + columns).ravel()
        np.add.at(weights.reshape(-1), at, np.float32(step))
        np.add.at(late.reshape(-1), at, np.float32(step * self._num_batches))

    def mean(self) -> tuple[Floats, Floats]:
        num = np.float32(max(self._num_batches, 1))
        return self._weights - self._late_weights / num, self._follow - self._late_follow / num


def _pruned(tagger: Tagger) -> Tagger:
    """Without weights that decide nothing, and features that have none left."""
    weights = np.where(np.abs(tagger.weights) < SMALLEST, np.float32(0), tagger.weights)
    kept = [name for name, row in tagger.features.items() if weights[row].any()]
    rows = [tagger.features[name] for name in kept]
    smaller = np.concatenate([weights[rows], np.zeros((1, weights.shape[1]), np.float32)])
    return Tagger(tagger.tags, {name: place for place, name in enumerate(kept)}, smaller, tagger.follow)
