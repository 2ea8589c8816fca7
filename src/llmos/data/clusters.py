"""Sets of rows that belong together, out of pairs: union-find over arrays.

Each row points at a row of its set with a smaller number, roots at themselves. Joining hooks the larger of two roots under the smaller
and shortens all ways, both for all pairs at once, until nothing moves (Shiloach and Vishkin 1982). 8 bytes a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


class Clusters:
    """Of `num` rows, each alone at first. The result does not depend on the order of the pairs."""

    def __init__(self, num: int) -> None:
        self.root: Ints = np.arange(num, dtype=np.int64)

    def join(self, first: Ints, second: Ints) -> None:
        while True:
            one, other = self.root[first], self.root[second]
            apart = one != other
            if not apart.any():
                return
            first, second = first[apart], second[apart]
            low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
            np.minimum.at(self.root, high, low)
            self._shorten()

    def _shorten(self) -> None:
        while True:
            further = self.root[self.root]
            if np.array_equal(further, self.root):
                return
            self.root = further

    def sizes(self) -> Ints:
        """int64[num], rows in the set of each."""
        return np.bincount(self.root, minlength=len(self.root))[self.root]

    def best(self, rank: np.ndarray[Any, Any], first: Truths) -> Ints:
        """int64[num], the row that stands for the set of each: one of those where `first` is true if there is any, then the one of the
        largest rank, then the one with the smallest number."""
        members = np.flatnonzero(self.sizes() > 1)
        order = members[np.lexsort((members, -rank[members], ~first[members], self.root[members]))]
        roots = self.root[order]
        heads = np.concatenate([[True], roots[1:] != roots[:-1]]) if len(order) else np.zeros(0, dtype=bool)
        stands = np.arange(len(self.root), dtype=np.int64)
        stands[roots[heads]] = order[heads]
        return stands[self.root]


def pairs(keys: Hashes, without: Truths, *, star: bool = False) -> tuple[Ints, Ints]:
    """Rows with equal keys: each with the one before it, and with `star` also each with the first of its kind. Rows in `without` have
    no partner."""
    rows = np.flatnonzero(~without)
    order = rows[np.argsort(keys[rows], kind="stable")]
    equal = keys[order][1:] == keys[order][:-1] if len(order) else np.zeros(0, dtype=bool)
    first, second = order[:-1][equal], order[1:][equal]
    if not star or not len(first):
        return first, second
    heads = np.concatenate([[True], ~equal])
    head_of = order[np.flatnonzero(heads)][np.cumsum(heads) - 1]
    ahead = head_of[1:][equal]
    more = ahead != first
    return np.concatenate([first, ahead[more]]), np.concatenate([second, second[more]])
