"""Splitting is lossless, keeps to the limit and prefers coarse breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import InvalidValue
from llmos.text.load import load_tokenizer
from llmos.text.split import sentences, split_text


def words(text: str) -> int:
    return len(text.split())


@given(st.text(alphabet="ab .!?\n。，,;x", max_size=120), st.integers(1, 20))
def test_lossless_and_within_the_limit(text: str, limit: int) -> None:
    parts = split_text(text, len, limit)
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join(sentences(text)) == text


def test_breaks_where_it_hurts_least() -> None:
    text = "One two three. Four five.\n\nSix seven eight nine.\n\nTen."
    assert split_text(text, words, 6) == ["One two three. Four five.\n\n", "Six seven eight nine.\n\nTen."]
    assert split_text(text, words, 4) == ["One two three. ", "Four five.\n\n", "Six seven eight nine.\n\n", "Ten."]
    assert split_text("a b c d e", words, 2) == ["a b ", "c d ", "e"]
    assert split_text("今天天气好。我们出去玩！好吗？", len, 6) == ["今天天气好。", "我们出去玩！", "好吗？"]
    assert split_text("", words, 4) == []


def test_real_tokens(asset: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(asset("smollm2"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text))

    text = (Path(__file__).parent.parent.parent / "src" / "llmos" / "engine" / "base.py").read_text() + "字" * 500
    parts = split_text(text, count, 64)
    assert "".join(parts) == text
    assert max(map(count, parts)) <= 64
    assert len(parts) < 2 * count(text) / 64


def test_impossible_limits_are_errors() -> None:
    with pytest.raises(InvalidValue, match="max_tokens is 0"):
        split_text("a", words, 0)
    with pytest.raises(InvalidValue, match="has 4 tokens, more than 2"):
        split_text("😀😀", lambda text: len(text.encode()), 2)
