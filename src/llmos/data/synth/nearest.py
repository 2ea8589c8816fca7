"""Nearest neighbours by cosine, by plain matrix products: exact within a group, and k-means buckets to make groups.

100,000 rows of 384 dimensions all against all, each pair once, are 2 * 10^12 multiplications.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Vectors = np.ndarray[Any, np.dtype[np.float32]]
Places = np.ndarray[Any, np.dtype[np.int64]]
BLOCK = 2048
BUCKET = 4096  # rows, about
ROUNDS = 8  # of k-means on the sample; more change little
SAMPLE = 64  # rows of the sample for each bucket


def thin(vectors: Vectors, order: Places, staying: np.ndarray[Any, np.dtype[np.bool_]], threshold: float) -> tuple[Vectors, Places]:
    """Goes through `order`: a row is kept when its cosine with all kept before is below the threshold, or when it is `staying`. For each
    row of `order` the highest such cosine, where it matters, and with whom; -1 for those that must stay."""
    best, nearest = np.full(len(order), -1.0, dtype=np.float32), np.zeros(len(order), dtype=np.int64)
    kept = np.zeros_like(vectors[order])
    who: Places = np.zeros(len(order), dtype=np.int64)
    num_kept = 0
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        block = vectors[rows]
        top, at = np.full(len(rows), -1.0, dtype=np.float32), np.zeros(len(rows), dtype=np.int64)
        for low in range(0, num_kept, BLOCK):
            cosines = block @ kept[low : min(low + BLOCK, num_kept)].T
            place = cosines.argmax(axis=1)
            found = cosines[np.arange(len(rows)), place]
            better = found > top
            top[better], at[better] = found[better], who[low + place[better]]
        within = np.tril(block @ block.T, -1) if len(rows) > 1 else np.zeros((1, 1), dtype=np.float32)
        alive = (top < threshold) | staying[rows]
        for place in np.flatnonzero(within.max(axis=1) >= threshold):  # ascending: whoever is before it is decided
            if staying[rows[place]]:
                continue
            cosines = np.where(alive[:place], within[place, :place], -1.0)
            near = int(cosines.argmax())
            if cosines[near] > top[place]:
                top[place], at[place] = cosines[near], rows[near]
            alive[place] = top[place] < threshold
        mine = np.flatnonzero(alive)
        kept[num_kept : num_kept + len(mine)], who[num_kept : num_kept + len(mine)] = block[mine], rows[mine]
        num_kept += len(mine)
        top[staying[rows]] = -1.0
        best[start : start + BLOCK], nearest[start : start + BLOCK] = top, at
    return best, nearest


def buckets_of(vectors: Vectors, seed: int) -> Places:
    """A number for each row: of the nearest of about N / BUCKET centres (spherical k-means, Dhillon & Modha 2001, on a sample)."""
    num = max(1, -(-len(vectors) // BUCKET))
    draw = np.random.default_rng(seed)
    sample = vectors[np.sort(draw.choice(len(vectors), size=min(len(vectors), num * SAMPLE), replace=False))]
    centres = sample[np.sort(draw.choice(len(sample), size=num, replace=False))].copy()
    for _ in range(ROUNDS):
        near = _nearest(sample, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, near, sample)
        sizes = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1e-12), centres).astype(np.float32)
    return _nearest(vectors, centres)


def _nearest(vectors: Vectors, centres: Vectors) -> Places:
    found: Places = np.concatenate(
        [(vectors[start : start + BLOCK] @ centres.T).argmax(axis=1) for start in range(0, len(vectors), BLOCK)]
        or [np.zeros(0, dtype=np.int64)]
    )
    return found
