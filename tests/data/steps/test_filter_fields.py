"""Filters on columns: expressions, values, ranges, file names."""

from __future__ import annotations

import pytest

from llmos.data.base import Rows
from llmos.errors import InvalidValue
from tests.data.steps.running import kept, make, rows_of

ROWS = rows_of(
    ["Hello", "World x", "é", ""],
    n=[1, 5, None, 9],
    name=["a.PY", "b.md", None, "c.py"],
    meta=[{"lang": "en", "a": 1}, {"lang": "zh", "a": 3}, {"lang": None, "a": 2}, {"lang": "en", "a": 4}],
)


@pytest.mark.parametrize(
    ("expression", "places"),
    [
        ("n > 3 and meta.lang == 'en'", [3]),
        ("1 < n <= 5", [1]),
        ("not n > 3", [0, 2]),
        ("n in [1, 9]", [0, 3]),
        ("n not in [1]", [1, 2, 3]),
        ("n != 1", [1, 3]),
        ("'o' in text", [0, 1]),
        ("len(text) > 5 or is_null(n)", [1, 2]),
        ("matches(text, '^[A-Z]') and not contains(text, ' ')", [0]),
        ("starts_with(lower(text), 'w') or ends_with(text, 'lo')", [0, 1]),
        ("n % 2 == 1 and n // 2 == 2", [1]),
        ("n + meta.a * 2 >= 11", [1, 3]),
        ("-n < -3 and abs(-n) == 9", [3]),
        ("col('n') == 5", [1]),
        ("True", [0, 1, 2, 3]),
        ("n == None", []),
        ("text in ('é', 'x')", [2]),
    ],
)
def test_an_expression_keeps_what_python_would(expression: str, places: list[int]) -> None:
    assert kept(make("where", expression=expression), ROWS) == places


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("n >", "no expression"),
        ("__import__('os').system('true')", "is not among what it may hold"),
        ("open('/etc/passwd') == 1", "there is no function open"),
        ("lenn(text) > 1", "Did you mean len"),
        ("(lambda: 1)()", "is not among what it may hold"),
        ("text[0] == 'a'", "is not among what it may hold"),
        ("[x for x in text]", "is not among what it may hold"),
        ("9 ** 9 ** 9 > n", "is not among what it may hold"),
        ("n is None", "`is` is not known"),
        ("contains(text, n)", "other things than a text"),
        ("n == [1]", "lists are compared with `in`"),
        ("not " * 60 + "n", "nested deeper than 50"),
        ("-" * 3999 + "n", "no expression|nested deeper"),
        ("(" * 1900 + "n" + ")" * 1900, "no expression"),
        ("n" + " + n" * 900, "nested deeper|no expression"),
    ],
)
def test_what_is_no_such_expression_is_refused_before_anything_runs(expression: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        make("where", expression=expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("x == 1", "no column 'x'"),
        ("text > 3", "cannot compare string with numeric"),
        ("len(n) > 3", "cannot be computed"),
        ("matches(text, '(')", "regex"),
        ("meta.zz == 1", "cannot be computed"),
    ],
)
def test_what_does_not_fit_the_rows_names_the_reason(expression: str, message: str) -> None:
    step = make("where", expression=expression)
    with pytest.raises(InvalidValue, match=message):
        kept(step, ROWS)


def test_values_ranges_and_endings() -> None:
    assert kept(make("field_in", field="meta.lang", values=["zh", None]), ROWS) == [1, 2]
    assert kept(make("field_range", field="n", min_value=5), ROWS) == [1, 3]
    assert kept(make("field_range", field="meta.a", min_value=2, max_value=3), ROWS) == [1, 2]
    assert kept(make("suffix_in", field="name", suffixes=[".py"]), ROWS) == [0, 3]


def test_lists_and_numbers_written_as_text() -> None:
    rows: Rows = rows_of(["", "", ""], tags=[["a"], ["a", "b"], []], price=[" 3.5", "x", "0"])
    assert kept(make("field_in", field="tags", values=["a"]), rows) == [0, 2]
    assert kept(make("field_range", field="price", max_value=4), rows) == [0, 2]
    with pytest.raises(InvalidValue, match="no field 'x'; there are none"):
        kept(make("field_in", field="price.x", values=[1]), rows)
