"""Samples, splits, mixtures, tokens and packed sequences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.data.steps.pack import best_fit
from llmos.errors import InvalidValue
from tests.data.running import run
from tests.data.texts import documents

ROWS = [{"text": f"text number {number}", "label": "ab"[number % 5 == 0], "n": number} for number in range(500)]


def column(version: object, name: str) -> list[object]:
    found: list[object] = version.scan().collect()[name].to_list()  # type: ignore[attr-defined]
    return found


def test_sample(tmp_path: Path) -> None:
    small = column(run(tmp_path, ROWS, [{"sample": {"rows": 50}}]), "n")
    large = column(run(tmp_path, ROWS, [{"sample": {"fraction": 0.5}}], read={"batch_bytes": 500}), "n")
    other = column(run(tmp_path, ROWS, [{"sample": {"rows": 50}}], seed=1), "n")
    assert len(small) == 50 and len(large) == 250 and set(small) <= set(large) and small != other
    assert small == sorted(small)  # type: ignore[type-var]
    each = run(tmp_path, ROWS, [{"sample": {"rows": 20, "by": "label"}}])
    assert Counter(column(each, "label")) == {"a": 20, "b": 20}
    with pytest.raises(InvalidValue, match="either rows or fraction"):
        run(tmp_path, ROWS, ["sample"])


def test_split_is_stratified_grouped_and_does_not_leak(tmp_path: Path) -> None:
    rows = [
        {"text": f"text number {number // 2}", "label": "ab"[number % 10 > 7], "author": f"p{number % 40}"}
        for number in range(1000)
    ]
    made = run(tmp_path, rows, [{"split": {"shares": {"train": 0.8, "test": 0.2}, "stratify": "label"}}]).scan().collect()
    assert made.height == 1000
    assert made.group_by("text").agg(pl.col("split").n_unique())["split"].max() == 1
    for label in "ab":
        part = made.filter(pl.col("label") == label)
        assert abs(part.filter(pl.col("split") == "test").height / part.height - 0.2) < 0.02
    grouped = run(tmp_path, ROWS_BY_AUTHOR, [{"split": {"group": "author"}}]).scan().collect()
    assert grouped.group_by("author").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(grouped["split"]) == {"train", "validation", "test"}
    with pytest.raises(InvalidValue, match="add up to"):
        run(tmp_path, rows, [{"split": {"shares": {"train": 0.8, "test": 0.3}}}])


ROWS_BY_AUTHOR = [{"text": f"a text of its own {number}", "author": f"p{number % 60}"} for number in range(600)]


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    originals = [text for text in documents() if 80 <= len(text.split()) <= 400][:120]
    rows = [{"text": text, "pair": number} for number, text in enumerate(originals)]
    rows += [{"text": text + " One more remark.", "pair": number} for number, text in enumerate(originals)]
    made = run(tmp_path, rows, [{"split": {"shares": {"train": 0.5, "test": 0.5}, "near": True}}]).scan().collect()
    torn = made.group_by("pair").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).height
    assert torn <= 0.05 * len(originals)


def test_mix(tmp_path: Path) -> None:
    sources = [
        {"rows": [{"text": f"web {number} " + "x" * 90} for number in range(400)], "tag": "web"},
        {"rows": [{"text": f"book {number} " + "x" * 90} for number in range(50)], "tag": "books"},
    ]
    weights = {"web": 0.5, "books": 0.5}
    with pytest.raises(InvalidValue, match="books has"):
        run(tmp_path, [], [{"mix": {"weights": weights, "budget": 20_000}}], sources=sources)
    made = run(tmp_path, [], [{"mix": {"weights": weights, "budget": 20_000, "max_repeats": 3}}], sources=sources).scan().collect()
    chars = {
        name: made.filter(pl.col("source") == name)["text"].str.len_chars().cast(pl.Int64).to_numpy().sum() for name in weights
    }
    assert all(abs(one - 10_000) <= 60 for one in chars.values())
    books = Counter(made.filter(pl.col("source") == "books")["text"])
    assert set(books.values()) <= {2, 3} and made["_id"].n_unique() == made.height
    assert any("~" in one for one in made["_id"])
    even = run(tmp_path, [], [{"mix": {"unit": "rows", "temperature": 1e9, "budget": 80, "max_repeats": 1}}], sources=sources)
    assert Counter(column(even, "source")) == {"web": 40, "books": 40}
    with pytest.raises(InvalidValue, match="not in the data: pages; without a weight: books"):
        run(tmp_path, [], [{"mix": {"weights": {"web": 1, "pages": 1}}}], sources=sources)


def test_tokens_are_packed_without_loss(tmp_path: Path, asset: Callable[[str], Path]) -> None:
    tokenizer = str(asset("minilm") / "tokenizer.json")
    rows = [{"text": text} for text in documents()[:60]]
    tokens = run(tmp_path, rows, [{"tokenize": {"tokenizer": tokenizer, "eos": False}}]).scan().collect()
    assert (tokens["num_tokens"] == tokens["input_ids"].list.len()).all()
    total = Counter(token for ids in tokens["input_ids"].to_list() for token in ids)
    for method in ("best_fit", "concat"):
        process = [{"tokenize": {"tokenizer": tokenizer, "eos": False}}, {"pack": {"length": 256, "method": method}}]
        version = run(tmp_path, rows, process)
        packed = version.scan().collect()
        assert Counter(token for ids in packed["input_ids"].to_list() for token in ids) == total
        assert (packed["input_ids"].list.len() <= 256).all()
        assert (packed["input_ids"].list.len() == packed["lengths"].list.sum()).all()
        grouped = version.ledger().filter(pl.col("action") == "grouped").collect()
        assert grouped.height == len(rows) and set(grouped["other"]) <= set(packed["_id"])
        assert packed["_id"].n_unique() == packed.height
        full = packed["input_ids"].list.len().to_list()
        assert sum(one == 256 for one in full) >= (len(full) - 1 if method == "concat" else 1)
    with pytest.raises(InvalidValue, match="tokenize before it"):
        run(tmp_path, rows, ["pack"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 20))
def test_best_fit(counts: list[int], length: int) -> None:
    spans, packs = best_fit(np.array(counts, dtype=np.int64), length)
    held = Counter[int]()
    for (_, start, end), pack in zip(spans, packs, strict=True):
        held[pack] += end - start
    assert sum(held.values()) == sum(counts) and max(held.values(), default=0) <= length
    assert sorted(held) == list(range(len(held)))
    whole = {row for row, count in enumerate(counts) if 0 < count <= length}
    assert all(sum(span[0] == row for span in spans) == 1 for row in whole)
    halves = sum(size * 2 <= length for size in held.values())
    assert halves <= 1, "two half-empty sequences would have been one"


def test_ids_in_the_ledger_are_rows(tmp_path: Path) -> None:
    made = run(tmp_path, ROWS[:20], [{"sample": {"rows": 5}}])
    told = made.ledger().filter(pl.col("action") == "dropped").collect()
    assert told.height == 15 and set(told["signal"]) == {"rank"} and json.loads(told["row"][0])["text"].startswith("text number")
