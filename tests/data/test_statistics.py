"""Statistics of versions: right on small ones, near on large ones, the same however rows are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmos.data.bottom_k import SIZE, Distinct, Sampled, mixed
from llmos.data.statistics import statistics
from tests.data.running import run

ROWS: list[dict[str, Any]] = [
    {"text": "one two  three", "label": "a", "n": 1, "f": 0.5, "tags": ["x", "y"]},
    {"text": "你好 world", "label": "a", "n": 2, "f": 1.5, "tags": []},
    {"text": "one two  three", "label": "b", "n": 3, "f": None, "tags": ["x"]},
    {"text": "", "label": "a", "n": 10, "f": 4.0, "tags": None},
]


def test_a_small_version(tmp_path: Path) -> None:
    found = statistics(run(tmp_path, ROWS, []))
    assert (found.rows, found.exact) == (4, True)
    columns = {one.name: one for one in found.columns}
    assert list(columns) == ["text", "label", "n", "f", "tags"]

    text = columns["text"]
    assert (text.distinct, text.repeated, text.exact, text.nulls, text.type) == (3, 1, True, 0, "String")
    assert text.chars and text.words and text.words.total == 9  # each Chinese character is a word
    assert (text.chars.min, text.chars.max, text.chars.quantiles["0.5"]) == (0, 14, 11)

    label = columns["label"]
    assert label.values is not None and [(one.value, one.rows, one.share) for one in label.values] == [
        ("a", 3, 0.75),
        ("b", 1, 0.25),
    ]
    assert label.evenness is not None and round(label.evenness, 4) == 0.8113  # H(3/4) in bits

    numbers = columns["n"].numbers
    assert numbers and (numbers.min, numbers.max, numbers.mean, numbers.quantiles["0.5"]) == (1, 10, 4, 2.5)
    floats = columns["f"]
    assert floats.nulls == 1 and floats.numbers and (floats.numbers.rows, floats.numbers.mean, floats.numbers.nan) == (3, 2.0, 0)
    tags = columns["tags"]
    assert tags.distinct is None and tags.items and tags.items.total == 3 and tags.values
    assert [(one.value, one.rows) for one in tags.values] == [("x", 2), ("y", 1)]


def test_it_is_json_without_what_a_column_does_not_have(tmp_path: Path) -> None:
    plain = statistics(run(tmp_path, ROWS, [])).plain()
    assert json.loads(json.dumps(plain)) == plain
    assert "chars" not in plain["columns"][2] and "numbers" in plain["columns"][2]


def test_a_version_without_rows(tmp_path: Path) -> None:
    found = statistics(run(tmp_path, ROWS, [{"text_length": {"min_chars": 1000}}]))
    assert found.rows == 0 and all(not one.nulls for one in found.columns)


def test_columns_with_many_or_long_values_have_no_list_of_them(tmp_path: Path) -> None:
    rows = [{"many": str(n), "long": "x" * 200, "one": True} for n in range(1500)]
    many, long, one = statistics(run(tmp_path, rows, [])).columns
    assert (many.distinct, many.values, long.values) == (1500, None, None)
    assert one.num_values == 1 and one.evenness is None


def test_batches_do_not_matter(tmp_path: Path) -> None:
    rows = [{"text": f"text {n % 700}", "n": n * 1.5} for n in range(2000)]
    whole, cut = (
        statistics(run(tmp_path, rows, [], name=name, read=read)).plain()["columns"]
        for name, read in (("a", {}), ("b", {"batch_bytes": 3000, "slice_bytes": 9000}))
    )
    assert whole == cut


def test_estimates_are_near() -> None:
    """900,000 values of which 300,000 differ, in batches; the standard error is 0.4 %, five of them are allowed."""
    values = np.arange(900_000) % 300_000
    distinct, sampled = Distinct(), Sampled()
    for start in range(0, len(values), 70_000):
        part = pl.Series(values[start : start + 70_000])
        distinct.add(mixed(part.hash(seed=0).to_numpy()))
        ids = pl.Series([f"f#{start + place}" for place in range(len(part))])
        sampled.add(mixed(ids.hash(seed=0).to_numpy()), {"n": part.cast(pl.Float64).to_numpy()})
    assert not distinct.exact and not sampled.exact
    assert abs(distinct.estimate / 300_000 - 1) < 0.02 and abs(distinct.num_repeated / 600_000 - 1) < 0.02
    assert all(
        abs(found / 300_000 - at) < 0.01 for at, found in zip((0.1, 0.5, 0.9), sampled.quantiles("n", (0.1, 0.5, 0.9)), strict=True)
    )


def test_a_large_column_without_repeats_has_none() -> None:
    distinct = Distinct()
    for start in range(0, 4 * SIZE, SIZE):
        distinct.add(mixed(np.arange(start, start + SIZE, dtype=np.uint64)))
    assert distinct.num_repeated == 0 and distinct.estimate == 4 * SIZE


def test_one_frequent_value_among_many() -> None:
    """A tenth of the rows have one value, which is hardly among those with the smallest hashes."""
    values = np.concatenate([np.arange(9 * SIZE, dtype=np.uint64), np.full(SIZE, 7, dtype=np.uint64)])
    distinct = Distinct()
    distinct.add(mixed(values))
    assert abs(distinct.num_repeated / SIZE - 1) < 0.2 and abs(distinct.estimate / (9 * SIZE) - 1) < 0.02
