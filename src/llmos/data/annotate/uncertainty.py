"""How unsure a model is of an item, by its probabilities: what comes first where a project has the order `uncertainty`.

0 (sure) to 1: the entropy over the labels divided by its highest value, or one minus the margin between the two most probable labels;
both after Settles, "Active Learning Literature Survey" (2009), section 3.1. With several labels at a time it is the mean over the
labels, each a yes or no of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Measure = Literal["entropy", "margin"]


def uncertainty(probabilities: Mapping[str, float], measure: Measure = "entropy", *, several: bool = False) -> float:
    """0 to 1. several: labels do not exclude each other."""
    if several:
        each = [uncertainty({"yes": p, "no": 1 - p}, measure) for p in probabilities.values()]
        return sum(each) / len(each) if each else 0.0
    ordered = sorted(probabilities.values(), reverse=True)
    if len(ordered) < 2:
        return 0.0
    if measure == "margin":
        return min(1.0, max(0.0, 1 - (ordered[0] - ordered[1])))
    return min(1.0, -sum(p * math.log(p) for p in ordered if p > 0) / math.log(len(ordered)))
