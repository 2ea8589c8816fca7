"""How random a string looks."""

from __future__ import annotations

from collections import Counter
from math import log2


def entropy(value: str) -> float:
    """Shannon's entropy of its characters, in bits a character (Shannon 1948); 0 for an empty string."""
    return -sum(count / len(value) * log2(count / len(value)) for count in Counter(value).values())
