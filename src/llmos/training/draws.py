"""Random numbers as functions of a key, for a training that goes on at any step with the numbers it would have had.

A key is some integers: (seed, what for, place). Whatever was drawn before, and by whichever process, the same key gives the same numbers.
They are splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), written here because numpy promises the
same stream of a generator for one version of numpy only.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

_STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio
_ALL = (1 << 64) - 1


class Purpose(IntEnum):
    """What numbers are for: part of their key, so that two purposes never share a stream. The values are in every run: never change one."""

    ORDER = 1
    MASKING = 2
    DROPOUT = 3
    INITIALISATION = 4


def mixed(values: Words) -> Words:
    """Every bit of the input moves every bit of the output (the finaliser of splitmix64). A bijection."""
    found = values ^ (values >> np.uint64(30))
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


def seed_of(*key: int) -> int:
    """One number of 64 bits for the key."""
    found = 0
    for part in key:
        word = np.array([(found + _STEP + (part & _ALL)) & _ALL], dtype=np.uint64)
        found = int(mixed(word)[0])
    return found


def words(num: int, *key: int) -> Words:
    """uint64[num], evenly spread."""
    with np.errstate(over="ignore"):
        return mixed(np.uint64(seed_of(*key)) + np.arange(1, num + 1, dtype=np.uint64) * np.uint64(_STEP))


def uniform(num: int, *key: int) -> Floats:
    """float64[num] in [0, 1), of 53 bits."""
    return (words(num, *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
