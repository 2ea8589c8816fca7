"""Texts longer than an encoder's context, embedded in parts: cut into windows, the vectors averaged by length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from llmos.types import TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def windows(ids: TokenIds, size: int, *, around: TokenIds) -> list[TokenIds]:
    """`ids` in parts of at most `size` tokens and nearly equal length, each inside the special tokens of an empty text:
    `around` is ([CLS], [SEP]) or (</s>,); its last one closes, the others open."""
    num = -(-len(ids) // size)
    bounds = [len(ids) * place // num for place in range(num + 1)]
    opening, closing = around[:-1], around[-1:]
    return [(*opening, *ids[low:high], *closing) for low, high in pairwise(bounds)]


def mean_of_windows(vectors: NDArray[np.float32], groups: Sequence[Sequence[TokenIds]]) -> NDArray[np.float32]:
    """[N, D] from the [W, D] of all windows, row by row: the mean by number of tokens, brought to the length that the parts
    have (1 for models that normalise)."""
    import numpy as np

    rows, start = [], 0
    for group in groups:
        part = vectors[start : start + len(group)]
        start += len(group)
        if len(group) == 1:
            rows.append(part[0])
            continue
        weights = np.array([len(ids) for ids in group], dtype=np.float32)
        mean = (part * (weights / weights.sum())[:, None]).sum(axis=0)
        norm = float(np.linalg.norm(part, axis=1).mean())
        rows.append(mean * (norm / max(float(np.linalg.norm(mean)), 1e-12)))
    return np.stack(rows).astype(np.float32) if rows else vectors
