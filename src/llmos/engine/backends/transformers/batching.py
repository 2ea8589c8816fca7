"""Which inputs share a forward pass. Pure: lengths in, groups of indices out, and the padding that makes a rectangle of them."""

from __future__ import annotations

from collections.abc import Sequence

MAX_TOKENS = 8192  # of one encoder pass, padding included: wide enough to fill the cores, small enough for any memory


def by_length(lengths: Sequence[int], max_tokens: int = MAX_TOKENS, *, equal: bool = False) -> list[list[int]]:
    """Indices grouped so that rows x longest row <= max_tokens, similar lengths together (`equal`: only equal ones). A row over
    the limit stands alone."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        fits = groups and (len(groups[-1]) + 1) * lengths[index] <= max_tokens
        if fits and not (equal and lengths[groups[-1][0]] != lengths[index]):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def padded(rows: Sequence[Sequence[int]], value: int) -> list[list[int]]:
    """Rows filled with `value` to the length of the longest."""
    width = max(map(len, rows))
    return [list(row) + [value] * (width - len(row)) for row in rows]


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading ids all rows share."""
    tuples = [tuple(row) for row in rows]
    first, last = min(tuples), max(tuples)  # lexicographic extremes share what all share
    for place, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return place
    return min(len(first), len(last))
