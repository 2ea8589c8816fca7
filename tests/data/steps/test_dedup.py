"""Deduplication: exact, by URL, by lines, near; who stays; earlier versions; decontamination."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmos.data.dedup import moments
from llmos.data.steps.minhash_dedup import signatures_of
from llmos.data.store import Version
from llmos.data.words import folded, pieces_of
from llmos.errors import InvalidValue
from tests.data.running import run
from tests.data.texts import documents


def texts(version: Version, column: str = "text") -> list[str]:
    return version.scan().collect()[column].to_list()


def dropped(version: Version) -> pl.DataFrame:
    return version.ledger().filter(pl.col("action") == "dropped").collect()


def test_exact(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("a b", "A  b", "a b", "", "", "c")]
    assert texts(run(tmp_path / "1", rows, ["exact_dedup"])) == ["a b", "A  b", "", "", "c"]
    loose = run(tmp_path / "2", rows, [{"exact_dedup": {"ignore_case": True, "ignore_space": True}}])
    assert texts(loose) == ["a b", "", "", "c"]
    gone = dropped(loose)
    assert gone["_id"].to_list() == ["rows#2", "rows#3"] and gone["other"].to_list() == ["rows#1", "rows#1"]


def test_who_stays(tmp_path: Path) -> None:
    rows = [{"text": "same", "score": score, "at": at} for score, at in ((1, "2024-01-02"), (3, "2026-05-01"), (2, "2025-01-01"))]
    best = run(tmp_path / "1", rows, [{"exact_dedup": {"keep": "best", "by": "score", "cluster_column": "copies"}}])
    assert best.scan().collect().select("_id", "copies").rows() == [("rows#2", 3)]
    newest = run(tmp_path / "2", rows, [{"exact_dedup": {"keep": "newest", "by": "at"}}])
    assert newest.scan().collect()["_id"].to_list() == ["rows#2"]
    with pytest.raises(InvalidValue, match="needs `by`"):
        run(tmp_path / "3", rows, [{"exact_dedup": {"keep": "best"}}])
    with pytest.raises(InvalidValue, match="goes by numbers"):
        run(tmp_path / "4", rows, [{"exact_dedup": {"keep": "best", "by": "text"}}])


def test_dates_are_read_one_by_one() -> None:
    day, hour = 1_704_153_600_000_000, 3_600_000_000  # 2 January 2024
    forms = {
        "2024-01-02": day, "2024/01/02": day, "2024-01-02T10:00": day + 10 * hour, " 2024-01-02 10:00:00 ": day + 10 * hour,
        "2024-01-02T10:00:00.5": day + 10 * hour + 500_000, "2024-01-02T10:00:00Z": day + 10 * hour,
        "2024-01-02T10:00:00+02:00": day + 8 * hour, "2024-01-02 10:00:00+0200": day + 8 * hour,
        "Tue, 02 Jan 2024 10:00:00 +0200": day + 8 * hour, "2 Jan 2024 10:00:00 GMT": day + 10 * hour,
        "Tue, 2 Jan 2024 10:00:00 +0200 (CEST)": day + 8 * hour, "yesterday": None, "": None, "01/02/2024": None,
    }  # fmt: skip
    assert moments(pl.Series([*forms])).to_list() == [*forms.values()]
    assert [moments(pl.Series([one])).item() for one in forms] == [*forms.values()]


@pytest.mark.parametrize("batch_bytes", [10, 1 << 20])
def test_the_newest_does_not_depend_on_batches(batch_bytes: int, tmp_path: Path) -> None:
    dates = ["no date", "02/03/2024", "2024-01-02", "2025-05-05T10:00:00Z", "Tue, 06 May 2025 10:00:00 +0000", None]
    rows = [{"text": "same", "at": date} for date in dates]
    made = run(tmp_path, rows, [{"exact_dedup": {"keep": "newest", "by": "at"}}], read={"batch_bytes": batch_bytes})
    assert made.scan().collect()["_id"].to_list() == ["rows#5"]


def test_urls(tmp_path: Path) -> None:
    same = ["http://Example.org/a?x=1", "https://www.example.org/a/?x=1#top", "https://example.org:443/a?utm_source=n&x=1"]
    same[1] = "https://www.example.org/a?x=1#top"
    other = ["https://example.org/A?x=1", "https://example.org/a?x=2", "https://example.org/a"]
    made = run(tmp_path, [{"url": url} for url in [*same, *other]], ["url_dedup"])
    assert texts(made, "url") == [same[0], *other]


def test_lines(tmp_path: Path) -> None:
    menu = "Home | Products | About this company"
    rows = [
        {"text": f"{menu}\nThe first text has its own line.\nok"},
        {"text": f"{menu}\nAnother text, another line."},
        {"text": menu.upper()},
    ]
    made = run(tmp_path, rows, ["line_dedup"], read={"batch_bytes": 10})
    assert texts(made) == [rows[0]["text"], "Another text, another line."]
    assert dropped(made).select("_id", "signal", "value").rows() == [("rows#3", "repeated_lines", 1.0)]
    changed = made.ledger().filter(pl.col("action") == "changed").collect()
    assert changed.select("_id", "signal", "value").rows() == [("rows#2", "repeated_lines", 1.0)]
    assert [name for name in made.scan().collect().columns if name.startswith("_")] == ["_id", "_extra"]


def test_paragraphs_and_copies(tmp_path: Path) -> None:
    licence = "Licensed to whom it may concern,\nwithout any warranty."
    rows = [{"text": f"{licence}\n\nText number {name}, with words of its own."} for name in ("one", "two", "three")]
    made = run(tmp_path, rows, [{"line_dedup": {"unit": "paragraph", "max_copies": 2}}])
    assert [licence in text for text in texts(made)] == [True, True, False]


def test_signatures_estimate_the_similarity() -> None:
    """The share of equal places is an unbiased estimate with a standard error of sqrt(J (1 - J) / num) (Broder 1997)."""
    draw = random.Random(3)
    words = ["".join(one) for one in product("bcdfghklmn", "aeiou", "prstvw", "aeiou")][:1500]
    errors = []
    for _ in range(60):
        one = draw.sample(words, 200)
        other = [draw.choice(words) if draw.random() < 0.03 else word for word in one]
        sets = [{tuple(text[place : place + 5]) for place in range(196)} for text in (one, other)]
        true = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        found, _ = signatures_of(folded(pieces_of(pl.Series([" ".join(one), " ".join(other)]))).hashed, 5, 256)
        errors.append((float((found[0] == found[1]).mean()) - true) / (true * (1 - true) / 256 + 1e-9) ** 0.5)
    assert abs(float(np.mean(errors))) < 0.5 and 0.6 < float(np.std(errors)) < 1.6


def test_near_duplicates_of_real_texts(tmp_path: Path) -> None:
    draw, rows, pairs = random.Random(11), [], []
    originals = [text for text in documents() if 100 <= len(text.split()) <= 600][:200]
    for number, text in enumerate(originals):
        rows.append({"text": text, "n": number})
    for number in range(0, len(originals), 2):
        words = originals[number].split(" ")
        for _ in range(max(1, len(words) // 200)):
            words[draw.randrange(len(words))] = "altered"
        rows.append({"text": " ".join(words), "n": 1000 + number})
        pairs.append((number, 1000 + number))
    made = run(tmp_path, rows, [{"minhash_dedup": {"threshold": 0.5}}])
    kept = set(made.scan().collect()["n"])
    found = sum(not {one, other} <= kept for one, other in pairs)
    assert found >= 0.95 * len(pairs)
    gone = dropped(made)
    assert (gone["value"] >= 0.5).all() and set(gone["other"]) <= set(made.scan().collect()["_id"])
    wrong = [json.loads(row)["n"] for row in gone["row"] if json.loads(row)["n"] < 1000]
    assert len(wrong) <= 0.05 * len(originals), "originals that are no copies of others"


def test_chinese_near_duplicates(tmp_path: Path) -> None:
    one = "自然语言处理是人工智能领域中的一个重要方向，它研究能实现人与计算机之间用自然语言进行有效通信的各种理论和方法。"
    rows = [
        {"text": one},
        {"text": one.replace("重要方向", "主要方向").replace("。", "！")},
        {"text": "今天天气很好，我们去公园散步，看见许多花。"},
    ]
    assert len(texts(run(tmp_path, rows, [{"minhash_dedup": {"bands": 32, "rows_per_band": 4, "threshold": 0.5}}]))) == 2


def test_texts_without_words_are_no_duplicates(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("", "...", "!!", "one two", "one two", "one three")]
    assert texts(run(tmp_path, rows, ["minhash_dedup"])) == ["", "...", "!!", "one two", "one three"]


def test_earlier_versions_count_as_seen(tmp_path: Path) -> None:
    long = [text for text in documents() if len(text) > 600][:6]
    first = run(tmp_path, [{"text": text} for text in long[:4]], [], name="old")
    new = [{"text": long[1] + " And a few words more."}, {"text": long[4]}, {"text": long[0]}, {"text": long[5]}]
    for step in ("exact_dedup", "minhash_dedup"):
        made = run(tmp_path, new, [{step: {"against": [first.ref]}}], name="new")
        assert made.num_rows == (2 if step == "minhash_dedup" else 3)
        assert set(dropped(made)["other"]) <= set(first.scan().collect()["_id"])
        assert all(text in [row["text"] for row in new] for text in texts(made))


def test_decontaminate(tmp_path: Path) -> None:
    question = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    rows = [
        {"text": "Something else entirely, of which no evaluation knows, however long the text goes on and on."},
        {"text": f"Look what I found: {question.upper()} How many?"},
        {"text": "Natalia sold clips to 48 of her friends."},
    ]
    evaluation = {"rows": [{"question": question, "answer": "72"}]}
    process = [{"decontaminate": {"against": [evaluation], "against_columns": ["question"]}}]
    made = run(tmp_path, rows, process)
    assert made.scan().collect()["_id"].to_list() == ["rows#1", "rows#3"]
    assert dropped(made).select("_id", "signal", "value", "threshold").rows() == [("rows#2", "shared_ngrams", 8.0, 0.0)]
    loose = run(tmp_path, rows, [{"decontaminate": {"against": [evaluation], "against_columns": ["question"], "ngram": 8}}])
    assert loose.scan().collect()["_id"].to_list() == ["rows#1"]
