"""Words, sentences and lines that go; search and replace."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from llmos.errors import InvalidValue
from tests.data.steps.cleaning import cleaned


def test_long_and_short_words_go() -> None:
    assert cleaned("remove_long_words", ["aaaaaaaaaaaa b cc\n aaaaaaaaaaaa\td", "fine"], max_len=10) == ["b cc\n\td", "fine"]
    assert cleaned("remove_long_words", ["(international)!!!!!"], max_len=13) == ["(international)!!!!!"]
    assert cleaned("remove_long_words", ["a bb ccc"], min_len=2) == ["bb ccc"]
    assert cleaned("remove_long_words", ["x" * 3000 + " y"], max_len=2000) == ["y"]
    assert cleaned("remove_long_words", ["as it is   "]) == ["as it is   "]


def test_words_with_pieces_of_addresses_go() -> None:
    texts = [
        "see http://x.y now",
        "(www.a.b) stays? no",
        "end// and //start stay, a//b goes",
        "Www stays",
        "about.com is one, .com is none",
    ]
    wanted = ["see now", "stays? no", "end// and //start stay, goes", "Www stays", "is one, .com is none"]
    assert cleaned("remove_words_with_incorrect_substrings", texts) == wanted
    assert cleaned("remove_words_with_incorrect_substrings", ["a xay b"], substrings=["xa"]) == ["a b"]


def test_a_sentence_is_said_once() -> None:
    text = "I came. I saw! I came. 我来了。我看见。我来了。\nI came.\n\nYes."
    assert cleaned("remove_repeat_sentences", [text]) == ["I came. I saw! 我来了。我看见。\n\n\nYes."]
    assert cleaned("remove_repeat_sentences", ["Go on. GO ON!"], lowercase=True) == ["Go on."]
    assert cleaned("remove_repeat_sentences", ["Go on. Go on!"], ignore_special_character=False) == ["Go on. Go on!"]
    assert cleaned("remove_repeat_sentences", ["Ha. Ha. Ho."], min_repeat_sentence_length=3) == ["Ha. Ha. Ho."]


def test_a_line_is_there_once() -> None:
    text = "Page 1\n\nA line\n  A line \n\nPage 2\na line\n"
    assert cleaned("remove_repeated_lines", [text, "", "x\nx"]) == ["Page 1\n\nA line\n\nPage 2\na line\n", "", "x"]
    assert cleaned("remove_repeated_lines", [text], ignore_case=True, ignore_digits=True) == ["Page 1\n\nA line\n\n"]
    assert cleaned("remove_repeated_lines", ["ab\nab\nabc\nabc"], min_chars=3) == ["ab\nab\nabc"]


def test_search_and_replace() -> None:
    assert cleaned("replace_content", ["a1b22"], pattern=r"(\d+)", repl=r"<\1>") == ["a<1>b<22>"]
    assert cleaned("replace_content", ["x\ny"], pattern=["x.y", "z"], repl=["z", r"$1\\"]) == ["$1\\"]
    assert cleaned("replace_content", ["2024-05-17"], pattern=r"(?P<y>\d{4})-(\d\d)-(\d\d)", repl=r"\3.\2.\g<y>") == ["17.05.2024"]
    assert cleaned("replace_content", ["abc"], pattern="r'b'", repl="") == ["ac"]


def test_patterns_that_cannot_be_are_told() -> None:
    with pytest.raises(InvalidValue, match="is no pattern") as told:
        cleaned("replace_content", ["x"], pattern=r"a(?=b)")
    assert "Look-around" in told.value.hint
    with pytest.raises(InvalidValue, match="2 patterns and 1 replacements"):
        cleaned("replace_content", ["x"], pattern=["a", "b"], repl=["c"])
    with pytest.raises(ValidationError, match="more than max_col"):
        cleaned("remove_tables", ["x"], min_col=5, max_col=4)
