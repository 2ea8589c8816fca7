"""Chunks and sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.data.running import run
from tests.data.steps.cleaning import cleaned, pieces
from tests.data.texts import documents

TEXT = "One is here. Two is here. Three is here.\n\nFour is here. 五在这里。六在这里。"


def test_sentences_become_rows_and_lines() -> None:
    wanted = ["One is here.", "Two is here.", "Three is here.", "Four is here.", "五在这里。", "六在这里。"]
    assert pieces("sentence_split", TEXT) == wanted
    assert pieces("sentence_split", TEXT, min_chars=13) == ["Three is here.", "Four is here."]
    assert cleaned("sentence_lines", [TEXT, ""]) == ["\n".join(wanted), ""]


def test_chunks_are_whole_sentences_that_fit() -> None:
    assert pieces("chunk", TEXT, max_len=30) == [
        "One is here. Two is here.",
        "Three is here.\n\nFour is here.",
        "五在这里。六在这里。",
    ]
    assert pieces("chunk", TEXT, max_len=30, overlap_len=15) == [
        "One is here. Two is here.", "Two is here. Three is here.", "Four is here. 五在这里。六在这里。",
    ]  # fmt: skip
    assert pieces("chunk", TEXT, max_len=2, unit="sentences", overlap_len=1)[:2] == [
        "One is here. Two is here.",
        "Two is here. Three is here.",
    ]
    assert pieces("chunk", "a" * 25, max_len=10) == ["a" * 6, "a" * 6, "a" * 6, "a" * 7]


def test_with_a_pattern_it_cuts_there() -> None:
    text = "aa\n\nbbb\n\n\n\ncccccccccc\n\nd"
    assert pieces("chunk", text, split_pattern=r"\n\n") == ["aa", "bbb", "cccccccccc", "d"]
    assert pieces("chunk", text, split_pattern=r"\n\n", max_len=9) == ["aa\n\nbbb", "ccccccccc", "c\n\nd"]
    assert pieces("chunk", text, split_pattern=r"\n\n", max_len=6, overlap_len=2) == ["aa", "bbb", "cccccc", "cccccc", "d"]


@pytest.mark.parametrize("most", [50, 333, 4000])
@pytest.mark.parametrize("overlap", [0, 20])
def test_no_chunk_is_too_long_and_none_is_lost(most: int, overlap: int) -> None:
    for text in documents()[:60]:
        chunks = pieces("chunk", text, max_len=most, overlap_len=overlap)
        assert all(0 < len(one) <= most for one in chunks)
        place = 0
        for one in chunks:  # each stands in the text, behind the start of the one before
            place = text.index(one, place)
        if not overlap:
            assert "".join("".join(chunks).split()) == "".join(text.split())


def test_tokens_are_counted_with_a_tokenizer(asset: Callable[[str], Path]) -> None:
    path = str(asset("minilm") / "tokenizer.json")
    assert pieces("chunk", TEXT, max_len=10, unit="tokens", tokenizer=path) == [
        "One is here. Two is here.", "Three is here.\n\nFour is here.", "五在这里。六在这里。",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "max_len or split_pattern"),
        ({"max_len": 5, "overlap_len": 5}, "less than max_len"),
        ({"max_len": 5, "unit": "tokens"}, "belong together"),
    ],
)
def test_parameters_that_clash_are_told(config: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        pieces("chunk", TEXT, **config)


def test_rows_of_a_text_have_ids_of_their_own_and_empty_texts_are_dropped(tmp_path: Path) -> None:
    version = run(tmp_path, [{"text": TEXT, "n": 1}, {"text": " \n", "n": 2}], [{"chunk": {"max_len": 30}}])
    rows = version.scan().collect()
    assert rows.get_column("_id").to_list() == ["rows#1.0", "rows#1.1", "rows#1.2"] and rows.get_column("n").to_list() == [1, 1, 1]
    gone = version.ledger().collect().filter(action="dropped")
    assert gone.select("_id", "signal").rows() == [("rows#2", "no chunks")]
