"""Near-duplicates by MinHash and locality-sensitive hashing, verified.

Sources: Broder 1997 (MinHash: the share of equal minima of random hashes estimates the Jaccard similarity of two sets); Indyk and Motwani
1998, Leskovec et al. 2014, chapter 3 (banding: with b bands of r rows a pair of similarity s becomes a candidate with probability
1 - (1 - s^r)^b). 14 bands of 8 rows, 5-word shingles: the setting of FineWeb (https://arxiv.org/abs/2406.17557, appendix E.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Rows, Sketches, step
from llmos.data.clusters import Ints
from llmos.data.dedup import Dedup, DedupConfig, Floats
from llmos.data.steps.measured import measured
from llmos.data.steps.spaced_words import hash_spans, pieces
from llmos.data.words import Hashed, Hashes, folded, hash_of, mixed, pieces_of, shingles

SEED = 1
_AT_ONCE = 1 << 16  # pairs whose signatures are compared at a time


@step("minhash_dedup")
class MinHashDedup(Dedup):
    """Keeps one of every set of near-duplicate texts. A candidate pair shares a band of its signatures; with a `threshold` it counts when
    the signatures agree in at least that share of their places. A text of fewer words than `ngram` is compared as a whole; one without
    words has no duplicates."""

    class Config(DedupConfig):
        ngram: int = Field(5, ge=1, description="Words of a shingle.")
        words: Literal["folded", "spaced", "characters"] = Field(
            "folded",
            description="folded: without case, accents and punctuation, numbers as 0; spaced: what stands between spaces, in lower case;"
            " characters: each one, in lower case.",
        )
        short: Literal["compared", "equal"] = Field(
            "compared",
            description="Texts of fewer words than `ngram`: compared as a whole; equal: all are duplicates of each other.",
        )
        bands: int = Field(14, ge=1, le=256)
        rows_per_band: int = Field(8, ge=1, le=64)
        threshold: float | None = Field(
            None, ge=0, le=1, description="Estimated Jaccard similarity of a duplicate; not set: every candidate pair is one."
        )

    config: Config
    signal = "near_duplicate"
    version = 2

    def keys(self) -> Sequence[str]:
        return [f"band{number}" for number in range(self.config.bands)]

    def key_columns(self, rows: Rows) -> dict[str, Any]:
        c = self.config
        words = self._words(rows)
        signatures, empty = signatures_of(words, c.ngram, c.bands * c.rows_per_band)
        if c.short == "equal":
            short = words.counts < c.ngram
            signatures[short], empty[short] = np.iinfo(np.uint32).max, False
        bands = signatures.reshape(len(rows), c.bands, c.rows_per_band)
        keys = np.zeros((len(rows), c.bands), dtype=np.uint64)
        for place in range(c.rows_per_band):
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + bands[:, :, place]
        found: dict[str, Any] = {name: mixed(keys[:, number] + np.uint64(number)) for number, name in enumerate(self.keys())}
        found["empty"] = empty
        if c.threshold is not None:
            found["signature"] = pl.Series(signatures, dtype=pl.Array(pl.UInt32, c.bands * c.rows_per_band))
        return found

    def _words(self, rows: Rows) -> Hashed:
        if self.config.words == "folded":
            return folded(rows.derived(pieces_of, self.column)).hashed
        made = measured(rows, self.column).lower
        if self.config.words == "spaced":
            begins, stops = pieces(made, " ")
            return Hashed(hash_spans(made.padded, begins, stops), np.searchsorted(begins, made.starts))
        inside = np.ones(int((made.lengths + 1).sum()), dtype=bool)
        inside[np.cumsum(made.lengths + 1) - 1] = False
        return Hashed(mixed(made.points()[inside].astype(np.uint64) + np.uint64(1)), np.concatenate([[0], np.cumsum(made.lengths)]))

    def likeness(self, sketches: Sketches) -> tuple[_Agreement, float] | None:
        c = self.config
        return None if c.threshold is None else (_Agreement(sketches, c.bands * c.rows_per_band), c.threshold)


def signatures_of(
    words: Hashed, ngram: int, num: int
) -> tuple[np.ndarray[Any, np.dtype[np.uint32]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """uint32[N, num] minima of `num` random hashes over the shingles of each text, and which texts have no words at all."""
    from rensa import RMinHash

    hashes, offsets = _with_short(*shingles(words, ngram), words)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets.astype(np.uint64), num, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(words.counts), num), np.diff(offsets) == 0


class _Agreement:
    """Signatures of all rows in a file of the run's folder; the share of places where two agree estimates their similarity."""

    def __init__(self, sketches: Sketches, num: int) -> None:
        self._num = num
        path = sketches.folder / "signatures.u32"
        with path.open("wb") as out:
            for one in sketches.column("signature"):
                out.write(np.ascontiguousarray(one.to_numpy(), dtype=np.uint32).tobytes())
        self._all = (
            np.memmap(path, dtype=np.uint32, mode="r").reshape(-1, num) if sum(sketches.heights) else np.zeros((0, num), np.uint32)
        )
        path.unlink()  # the mapping keeps it

    def of(self, first: Ints, second: Ints) -> Floats:
        found = np.zeros(len(first))
        for start in range(0, len(first), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            found[here] = (self._all[first[here]] == self._all[second[here]]).mean(axis=1)
        return found


def _with_short(hashes: Hashes, offsets: Ints, words: Hashed) -> tuple[Hashes, Ints]:
    """Texts with words, but too few for a shingle, have one of all their words."""
    short = np.flatnonzero((np.diff(offsets) == 0) & (words.counts > 0))
    if not len(short):
        return hashes, offsets
    whole = np.array([hash_of(words.each[words.offsets[row] : words.offsets[row + 1]]) for row in short.tolist()], dtype=np.uint64)
    return np.insert(hashes, offsets[short], whole), offsets + np.concatenate(
        [[0], np.cumsum(np.isin(np.arange(len(words.counts)), short))]
    )
