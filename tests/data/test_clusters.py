"""Sets out of pairs, against the plain algorithm."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.data.clusters import Clusters, pairs


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.data())
def test_sets_and_who_stands_for_them(num: int, data: st.DataObject) -> None:
    edges = data.draw(st.lists(st.tuples(st.integers(0, num - 1), st.integers(0, num - 1)), max_size=60))
    rank = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)), dtype=float)
    first = np.array(data.draw(st.lists(st.booleans(), min_size=num, max_size=num)))
    groups = [{place} for place in range(num)]
    for one, other in edges:
        both = groups[one] | groups[other]
        for member in both:
            groups[member] = both
    clusters = Clusters(num)
    for start in range(0, len(edges), 7):
        some = np.array(edges[start : start + 7], dtype=np.int64).reshape(-1, 2)
        clusters.join(some[:, 0], some[:, 1])
    assert clusters.sizes().tolist() == [len(group) for group in groups]
    best = clusters.best(rank, first).tolist()
    assert best == [min(group, key=lambda one: (not first[one], -rank[one], one)) for group in groups]


def test_pairs_have_equal_keys_and_reach_everyone() -> None:
    keys = np.array([5, 7, 5, 9, 5, 7, 5], dtype=np.uint64)
    without = np.array([False, False, False, False, False, False, True])
    first, second = pairs(keys, without)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 5), (2, 4)]
    first, second = pairs(keys, without, star=True)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (0, 4), (1, 5), (2, 4)]
    assert [len(one) for one in pairs(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool))] == [0, 0]
