"""Statistics of a data set as lines for the terminal."""

from __future__ import annotations

from typing import Any

from llmos.cli.data_text import number, shown

Plain = dict[str, Any]
TOP = 12  # values shown of a column


def column_rows(columns: list[Plain]) -> list[list[str]]:
    """One row a measure of each column: column, type, nulls, distinct, repeated, what is measured, min, mean, quartiles, max."""
    found = []
    for one in columns:
        about = "" if one["exact"] else "about "
        first = [one["name"], one["type"], f"{one['nulls']:,}" if one["nulls"] else ""]
        first += [f"{about}{one[name]:,}" if one.get(name) is not None else "" for name in ("distinct", "repeated")]
        measures = [(name, one[name]) for name in ("numbers", "chars", "words", "items") if name in one]
        for place, (name, measured) in enumerate(measures or [("", None)]):
            found.append([*(first if place == 0 else [""] * 5), name, *_spread(measured)])
    return found


def _spread(measured: Plain | None) -> list[str]:
    if measured is None:
        return [""] * 6
    at = measured["quantiles"]
    return [number(one) for one in (measured["min"], at["0.25"], at["0.5"], at["0.75"], measured["max"], measured["mean"])]


def value_lines(columns: list[Plain]) -> list[str]:
    """The most frequent values of columns that have few."""
    found = []
    for one in columns:
        if "values" not in one:
            continue
        even = f", evenness {one['evenness']:.2f}" if one.get("evenness") is not None else ""
        found.append(f"{one['name']}: {one['num_values']:,} different values{even}")
        found += [f"  {each['share']:7.2%}  {each['rows']:>10,}  {shown(each['value'], 80)}" for each in one["values"][:TOP]]
        found += [f"  and {one['num_values'] - TOP:,} more"] if one["num_values"] > TOP else []
    return found
