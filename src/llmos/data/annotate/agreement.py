"""How far annotators agree, beyond what chance would give. Pure functions over arrays; nothing here knows a database.

    cohen_kappa(a, b)                     two annotators, categories                          Cohen 1960
    fleiss_kappa(counts)                  the same number of annotators at every item         Fleiss 1971
    krippendorff_alpha(values, level)     any number, gaps allowed, three levels of measure   Krippendorff 2011, 2013
    span_f1(a, b)                         two sets of marked spans                            Hripcsak and Rothschild 2005

1 is perfect agreement, 0 what chance would give, below 0 worse than that. NaN: not defined, as there is nothing to compare or nobody
ever used a second category.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from llmos.errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Measure = Literal["nominal", "ordinal", "interval"]


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """kappa = (p_o - p_e) / (1 - p_e) for two annotators of the same items: p_o the share on which they agree, p_e the sum over the
    categories of the product of their shares. Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and
    Psychological Measurement 20 (1960), formula 1. Raises InvalidValue for sequences of different length."""
    if len(a) != len(b):
        raise InvalidValue(f"{len(a)} and {len(b)} values cannot be compared.", param="b")
    if not a:
        return math.nan
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    counts_a, counts_b = Counter(a), Counter(b)
    expected = sum(counts_a[category] * counts_b[category] for category in counts_a) / len(a) ** 2
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float:
    """[items, categories]: how many annotators chose a category; the sum of every row is the same number n >= 2.

    kappa = (P - P_e) / (1 - P_e), with P the mean over items of (sum n_ij^2 - n) / (n (n - 1)) and P_e the sum of the squared shares
    of the categories. Fleiss, "Measuring Nominal Scale Agreement among Many Raters", Psychological Bulletin 76 (1971), formulas 2 to
    7. Raises InvalidValue when rows have different sums."""
    import numpy as np

    table = np.asarray(counts, dtype=np.float64)
    if table.size == 0:
        return math.nan
    sums = table.sum(axis=1)
    n = float(sums[0])
    if n < 2 or not (sums == n).all():
        raise InvalidValue("Fleiss' kappa needs the same number of annotators, 2 or more, at every item.", param="counts")
    agreement = ((table**2).sum(axis=1) - n) / (n * (n - 1))
    expected = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return math.nan if expected == 1 else (float(agreement.mean()) - expected) / (1 - expected)


def krippendorff_alpha(values: Sequence[Sequence[Any]], level: Measure = "nominal") -> float:
    """[annotators, items]; None where an annotator gave nothing. Ordinal and interval values are numbers.

    alpha = 1 - D_o / D_e over the coincidence matrix of pairable values. Krippendorff, "Computing Krippendorff's
    Alpha-Reliability" (2011), section D and the metrics of section E; Krippendorff, "Content Analysis" (3rd ed. 2013), chapter 12."""
    import numpy as np

    columns = [[value for value in column if value is not None] for column in zip(*values, strict=True)]
    pairable = [column for column in columns if len(column) > 1]
    categories: list[Any] = sorted({value for column in pairable for value in column}, key=_sortable(level))
    if len(categories) < 2:
        return math.nan
    place = {category: number for number, category in enumerate(categories)}
    counts = np.zeros((len(pairable), len(categories)))
    for row, column in enumerate(pairable):
        for value in column:
            counts[row, place[value]] += 1
    weights = 1 / (counts.sum(axis=1) - 1)  # a unit with m values gives m - 1 pairs to each of them
    coincidence = (counts * weights[:, None]).T @ counts - np.diag(weights @ counts)
    totals = coincidence.sum(axis=0)
    distance = _distances(categories, totals, level)
    expected = float((np.outer(totals, totals) * distance).sum() / (totals.sum() - 1))
    return math.nan if expected == 0 else 1 - float((coincidence * distance).sum()) / expected


def _sortable(level: Measure) -> Any:
    return str if level == "nominal" else float


def _distances(categories: Sequence[Any], totals: NDArray[np.float64], level: Measure) -> NDArray[np.float64]:
    """[categories, categories]: the squared difference of Krippendorff 2011, section E. Ordinal: the ranks between the two,
    half of each end counted."""
    import numpy as np

    if level == "nominal":
        return 1.0 - np.eye(len(categories))
    ranks = np.cumsum(totals) - totals / 2
    numbers = ranks if level == "ordinal" else np.array([float(category) for category in categories])
    difference: NDArray[np.float64] = (numbers[:, None] - numbers[None, :]) ** 2
    return difference


def span_f1(a: Sequence[Collection[Hashable]], b: Sequence[Collection[Hashable]]) -> float:
    """Of two annotators' spans, item by item, exact borders and label: 2 |a and b| / (|a| + |b|) over all items together. Spans
    have no fixed number of negatives, so that kappa is not defined and F is what it comes near to: Hripcsak and Rothschild,
    "Agreement, the F-Measure, and Reliability in Information Retrieval", JAMIA 12 (2005). NaN when neither marked anything."""
    if len(a) != len(b):
        raise InvalidValue(f"{len(a)} and {len(b)} items cannot be compared.", param="b")
    both = sum(len(set(x) & set(y)) for x, y in zip(a, b, strict=True))
    total = sum(len(set(x)) + len(set(y)) for x, y in zip(a, b, strict=True))
    return 2 * both / total if total else math.nan
