"""The coefficients give the figures that their authors, and textbooks, worked out by hand."""

from __future__ import annotations

import math

import pytest

from llmos.data.annotate.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, span_f1
from llmos.data.annotate.progress import Votes, agreement_of
from llmos.data.annotate.tasks import tasks
from llmos.errors import InvalidValue

# Fleiss 1971, table 1: 30 patients, 6 psychiatrists, 5 diagnoses (depression, personality disorder, schizophrenia, neurosis, other).
DIAGNOSES = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
# 10 subjects, 14 raters, 5 categories (the worked example of en.wikipedia.org/wiki/Fleiss'_kappa).
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


def test_fleiss_1971_table_1() -> None:
    """P = .5556, P_e = .2199, kappa = .430."""
    table = [[int(count) for count in row] for row in DIAGNOSES.split()]
    assert [sum(column) for column in zip(*table, strict=True)] == [26, 26, 30, 55, 43]
    assert fleiss_kappa(table) == pytest.approx(0.430, abs=5e-4)


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


def test_many_annotators_of_few_items_each() -> None:
    """Pairs that never met are not there; whose a value is does not count for alpha, only what was said of each item."""
    votes: Votes = {item: {f"a{item}": "x", f"b{item % 7}": "x" if item % 3 else "y", "c": "y"} for item in range(500)}
    task = tasks.get("classification")
    found = agreement_of(votes, task, overlap=3)
    names = sorted({name for said in votes.values() for name in said})
    whole = [[said.get(name) for said in votes.values()] for name in names]
    assert found.alpha["nominal"] == pytest.approx(krippendorff_alpha(whole))
    assert len(found.pairs) == 500 + 500 + 7 and sum(pair.num_items for pair in found.pairs) == 1500
    with_c = next(pair for pair in found.pairs if pair.annotators == ("b0", "c"))
    b0 = [said["b0"] for item, said in votes.items() if item % 7 == 0]
    assert (with_c.num_items, with_c.cohen_kappa) == (72, cohen_kappa(b0, ["y"] * 72))
    assert found.identical == pytest.approx(sum(pair.identical * pair.num_items for pair in found.pairs) / 1500)
    assert agreement_of({}, task, overlap=2).alpha == {"nominal": None}


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
