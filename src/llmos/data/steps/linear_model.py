"""A linear text classifier that reads some MB/s on one core: hashed words and pairs of words, logistic regression.

It is what quality filters of large corpora are (Brown et al. 2020, arXiv:2005.14165, appendix A; fastText's classifier, Joulin et al.
2016, is the same with trained embeddings between): good enough to tell kinds of text apart, and cheap enough for all of them.

    model = train_linear(texts, labels)          # seconds for thousands of texts; the same bytes on every run
    model.save("ham.safetensors")
    LinearModel.load("ham.safetensors").probabilities(texts)

Features: each lower-case run of letters and digits, each ideograph, and each two that stand together, hashed into 2^bits places
(Weinberger et al. 2009). A text is the set of its features, with length 1. The model is softmax(Wx + b); training minimises the mean
cross-entropy plus l2/2 |W|^2 by Adagrad over all texts (Duchi, Hazan, Singer 2011), which gives rare words their say: 30 rounds reach
what plain gradient descent needs a thousand for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmos.data.steps.characters import Ints, Kind, characters
from llmos.data.steps.spaced_words import hash_spans, ngrams
from llmos.errors import CorruptFile, InvalidValue, NotFound

FORMAT = "llmos-linear-2"
BITS = 18
ITERATIONS = 30
RATE = np.float32(0.3)
TINY = 1e-12
MAX_FILE_BYTES = 1 << 30

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Features:
    """places[bounds[i]:bounds[i + 1]] are the features of text i, each once; each has the weight `weights[i]`."""

    places: Ints
    bounds: Ints
    weights: np.ndarray[Any, np.dtype[np.float32]]

    def rows(self) -> Ints:
        return np.repeat(np.arange(len(self.weights)), np.diff(self.bounds))


def features(text: pl.Series, bits: int) -> Features:
    made = characters(text.str.to_lowercase())
    ideograph = (made.kinds & Kind.CJK) != 0
    inside = made.whole(Kind.ALPHANUMERIC) & ~made.whole(Kind.CJK)
    before, after = np.roll(inside, 1), np.roll(inside, -1)  # the last character is a line feed, so nothing comes around
    last = np.zeros(len(inside), dtype=bool)
    is_ideograph = ideograph[made.firsts]
    last[(made.firsts + made.widths - 1)[is_ideograph]] = True
    begins = np.flatnonzero(ideograph | (inside & ~before))
    stops = np.flatnonzero(last | (inside & ~after)) + 1
    words = hash_spans(made.padded, begins, stops)
    counts = np.diff(np.searchsorted(begins, made.starts))
    pairs, num_pairs = ngrams(words, counts, 2)
    row, pair_row = (np.repeat(np.arange(len(text)), each) for each in (counts, num_pairs))
    keys = (np.concatenate([row, pair_row]) << bits) | (np.concatenate([words, pairs]) >> np.uint64(64 - bits)).astype(np.int64)
    keys = np.unique(keys)
    bounds = np.searchsorted(keys, np.arange(len(text) + 1) << bits)
    weights = 1 / np.sqrt(np.maximum(np.diff(bounds), 1))
    return Features(keys & ((1 << bits) - 1), bounds, weights.astype(np.float32))


@dataclass(frozen=True, slots=True)
class LinearModel:
    """weights: [2^bits, labels]; bias: [labels]."""

    labels: tuple[str, ...]
    weights: Matrix
    bias: Matrix

    @property
    def bits(self) -> int:
        return int(self.weights.shape[0]).bit_length() - 1

    def probabilities(self, texts: pl.Series | Sequence[str]) -> Matrix:
        """[texts, labels], rows sum to 1. A text without a word has what the labels have without evidence."""
        series = texts if isinstance(texts, pl.Series) else pl.Series(list(texts), dtype=pl.String)
        return _softmax(_scores(features(series, self.bits), self.weights, self.bias))

    def predict(self, texts: pl.Series | Sequence[str]) -> list[str]:
        return [self.labels[best] for best in self.probabilities(texts).argmax(axis=1)]

    def save(self, path: str | Path) -> None:
        from safetensors.numpy import save_file

        told = json.dumps({"format": FORMAT, "labels": self.labels})  # one entry: the order of several is not kept
        save_file({"weights": self.weights, "bias": self.bias}, str(path), metadata={"llmos": told})

    @classmethod
    def load(cls, path: str | Path) -> LinearModel:
        """Raises NotFound, CorruptFile."""
        from safetensors import SafetensorError, safe_open

        file = Path(path).expanduser()
        if not file.is_file():
            raise NotFound(f"There is no model {path}.", param="model", hint="Make one with train_linear.")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise CorruptFile(f"{path} is larger than {MAX_FILE_BYTES:,} bytes; that is no linear model.")
        try:
            with safe_open(str(file), framework="numpy") as opened:
                told = json.loads((opened.metadata() or {}).get("llmos", "{}"))
                labels = told.get("labels", [])
                weights, bias = opened.get_tensor("weights"), opened.get_tensor("bias")
        except (SafetensorError, ValueError) as problem:
            raise CorruptFile(f"{path} is no linear model: {problem}.") from None
        rows = weights.shape[0] if weights.ndim == 2 else 0
        if told.get("format") != FORMAT or rows == 0 or rows & (rows - 1) or weights.shape[1:] != bias.shape != (len(labels),):
            raise CorruptFile(f"{path} is no linear model of LLMOS: format {told.get('format')!r}, weights {weights.shape}.")
        return cls(tuple(map(str, labels)), weights, bias)


def train_linear(
    texts: Sequence[str], labels: Sequence[str], *, bits: int = BITS, l2: float = 1e-6, iterations: int = ITERATIONS
) -> LinearModel:
    """Deterministic. Raises InvalidValue when there is nothing to tell apart."""
    if len(texts) != len(labels):
        raise InvalidValue(f"There are {len(texts)} texts and {len(labels)} labels.", param="labels")
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise InvalidValue(f"All texts have the label {names[0] if names else 'none'}; two are wanted at least.", param="labels")
    found = features(pl.Series(list(texts), dtype=pl.String), bits)
    wanted = np.searchsorted(names, labels)
    weights: Matrix = np.zeros((1 << bits, len(names)), dtype=np.float32)
    bias: Matrix = np.zeros(len(names), dtype=np.float32)
    moved, bias_moved = np.full_like(weights, TINY), np.full_like(bias, TINY)
    for _ in range(iterations):
        slope, bias_slope = _gradient(found, weights, bias, wanted, l2)
        moved += slope**2
        bias_moved += bias_slope**2
        weights -= RATE * slope / np.sqrt(moved)
        bias -= RATE * bias_slope / np.sqrt(bias_moved)
    return LinearModel(names, weights, bias)


def _scores(found: Features, weights: Matrix, bias: Matrix) -> Matrix:
    made = np.zeros((len(found.weights), weights.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(found.bounds))
    if len(filled):
        made[filled] = np.add.reduceat(weights[found.places], found.bounds[:-1][filled], axis=0)
    return made * found.weights[:, None] + bias


def _softmax(scores: Matrix) -> Matrix:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Matrix = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _gradient(found: Features, weights: Matrix, bias: Matrix, wanted: Ints, l2: float) -> tuple[Matrix, Matrix]:
    """Of the mean cross-entropy with the penalty."""
    error = _softmax(_scores(found, weights, bias))
    error[np.arange(len(wanted)), wanted] -= 1
    error /= len(wanted)
    spread = (error * found.weights[:, None])[found.rows()]
    slope = np.stack(
        [np.bincount(found.places, weights=spread[:, label], minlength=len(weights)) for label in range(weights.shape[1])], axis=1
    )
    return (slope + l2 * weights).astype(np.float32), error.sum(axis=0)
