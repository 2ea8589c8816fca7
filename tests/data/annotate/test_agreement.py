"""The coefficients give the figures that their authors, and textbooks, worked out by hand."""

from __future__ import annotations

import math

import pytest

from llmos.data.annotate.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, span_f1
from llmos.errors import InvalidValue

# Fleiss' kappa: 10 subjects, 14 raters, 5 categories (the worked example of en.wikipedia.org/wiki/Fleiss'_kappa).
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def pairs(table: list[list[int]]) -> tuple[list[int], list[int]]:
    cells = [(row, column) for row, counts in enumerate(table) for column, times in enumerate(counts) for _ in range(times)]
    return [row for row, _ in cells], [column for _, column in cells]


def gaps(line: str) -> list[int | None]:
    return [None if one == "." else int(one) for one in line.split()]


# Krippendorff 2011, section C: four observers, twelve units, with gaps.
RELIABILITY = [
    gaps("1 2 3 3 2 1 4 1 2 . . ."),
    gaps("1 2 3 3 2 2 4 1 2 5 . 3"),
    gaps(". 3 3 3 2 3 4 2 2 5 1 ."),
    gaps("1 2 3 3 2 4 4 1 2 5 1 ."),
]


def test_cohen_1960_table_1() -> None:
    """Two judges, three categories, 200 cases: p_o = .29, p_e = .35."""
    a, b = pairs([[50, 26, 24], [24, 4, 32], [6, 30, 4]])
    assert cohen_kappa(a, b) == pytest.approx((0.29 - 0.35) / (1 - 0.35), abs=1e-9)


def test_cohen_on_a_two_by_two_table() -> None:
    """50 grant applications: p_o = 0.7, p_e = 0.5, kappa = 0.4."""
    a, b = pairs([[20, 5], [10, 15]])
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa(a, a) == 1.0


def test_fleiss_worked_example() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorff_2011_section_c(level: str, alpha: float) -> None:
    assert krippendorff_alpha(RELIABILITY, level) == pytest.approx(alpha, abs=6e-4)  # type: ignore[arg-type]


def test_krippendorff_2011_sections_a_and_b() -> None:
    binary = [gaps("0 1 0 0 0 0 0 0 1 0"), gaps("1 1 1 0 0 1 0 0 0 0")]
    assert krippendorff_alpha(binary) == pytest.approx(0.095, abs=6e-4)
    nominal = [list("aabbdcccedda"), list("babbbccceddd")]
    assert krippendorff_alpha(nominal) == pytest.approx(0.692, abs=6e-4)


def test_span_f1_counts_exact_spans() -> None:
    a = [{(0, 5, "PER"), (9, 15, "LOC")}, {(0, 3, "ORG")}, set()]
    b = [{(0, 5, "PER"), (9, 14, "LOC")}, {(0, 3, "ORG")}, set()]
    assert span_f1(a, b) == pytest.approx(2 * 2 / (3 + 3))
    assert span_f1(a, a) == 1.0


def test_what_is_not_defined_is_not_a_number() -> None:
    assert math.isnan(cohen_kappa([], [])) and math.isnan(cohen_kappa([1, 1], [1, 1]))
    assert math.isnan(fleiss_kappa([])) and math.isnan(fleiss_kappa([[2, 0], [2, 0]]))
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]])) and math.isnan(krippendorff_alpha([[1, None], [None, 2]]))
    assert math.isnan(span_f1([set()], [set()]))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidValue):
        cohen_kappa([1], [1, 2])
    with pytest.raises(InvalidValue):
        fleiss_kappa([[2, 0], [1, 2]])
    with pytest.raises(InvalidValue):
        span_f1([set()], [])
