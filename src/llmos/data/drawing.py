"""Randomness that does not depend on order: every row draws its number from its id and the recipe's seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from llmos.data.words import mixed

Draws = np.ndarray[Any, np.dtype[np.uint64]]


def draws(ids: pl.Series, seed: int, purpose: str) -> Draws:
    """uint64 per row, evenly spread; other ones for another purpose."""
    salt = pl.Series([purpose]).hash(seed & 0xFFFF_FFFF).to_numpy()[0]
    return mixed(ids.hash(seed & 0xFFFF_FFFF).to_numpy() ^ salt)


def shares(numbers: Draws) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same in [0, 1)."""
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
