"""Filters on characters, lines and words: by hand on small texts, against plain Python on random ones."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmos.data.steps.character_repetition import PART_BYTES
from llmos.data.steps.characters import Kind, table
from llmos.data.steps.measured import measured
from llmos.errors import InvalidValue
from tests.data.running import run
from tests.data.steps.running import kept, make, rows_of, signal
from tests.data.texts import documents

SPECIAL = {chr(code) for code in np.flatnonzero(table() & Kind.SPECIAL)}
ALPHABET = "ab \n\r\t.，é中了😀\u2028\x1c0٣İøØΣς\u0307"
TURNING = "ГΠπⓂ"  # special in one case only
OTHER_LENGTH = "ΩKẞ"  # of more or fewer bytes in lower case


def random_texts(count: int = 800, more: str = "") -> list[str]:
    draw = random.Random(4)
    alphabet = ALPHABET + more
    made = ["".join(draw.choice(alphabet) for _ in range(draw.randint(0, 60))) for _ in range(count)]
    return [*made, "", "\n", "a", "abcdefghij", "abcdefghijk", "\r\n\r\n", "word " * 40]


def words(text: str, *, lower: bool = False) -> list[str]:
    text = "".join(char.lower() if lower and len(char.lower()) == 1 else char for char in text)
    pieces = re.split("[ \n\t]", text)
    return [word for word in (stripped(piece) for piece in pieces) if word]


def stripped(piece: str) -> str:
    while piece and piece[0] in SPECIAL:
        piece = piece[1:]
    while piece and piece[-1] in SPECIAL:
        piece = piece[:-1]
    return piece


def most_frequent(text: str, num: int = 10) -> float:
    counts = sorted(Counter(text[at : at + num] for at in range(len(text) - num + 1)).values(), reverse=True)
    taken = min(int(np.sqrt(len(counts))), sum(count > 1 for count in counts))
    return sum(counts[:taken]) / max(sum(counts), 1)


def repeated_words(text: str, num: int = 10) -> float:
    found = words(text, lower=True)
    counts = Counter(tuple(found[at : at + num]) for at in range(len(found) - num + 1)).values()
    return sum(count for count in counts if count > 1) / max(sum(counts), 1)


def share(test: Callable[[str], bool]) -> Callable[[str], float]:
    return lambda text: sum(map(test, text)) / max(len(text), 1)


PLAIN: dict[str, Callable[[str], float]] = {
    "alphanumeric_ratio": share(str.isalnum),
    "special_characters_ratio": share(SPECIAL.__contains__),
    "digit_ratio": share(str.isdecimal),
    "whitespace_ratio": share(str.isspace),
    "num_words": lambda text: len(words(text)),
    "num_lines": lambda text: len(text.splitlines()),
    "maximum_line_length": lambda text: max(map(len, text.splitlines()), default=0),
    "average_line_length": lambda text: len(text) / max(len(text.splitlines()), 1),
    "mean_word_length": lambda text: sum(map(len, words(text))) / max(len(words(text)), 1),
    "character_repetition": most_frequent,
    "word_repetition": repeated_words,
}


@pytest.mark.parametrize("more", ["", TURNING, OTHER_LENGTH, TURNING + OTHER_LENGTH])
@pytest.mark.parametrize("name", PLAIN)
def test_a_signal_is_what_plain_python_counts(name: str, more: str) -> None:
    texts = random_texts(more=more)
    assert signal(name, texts) == pytest.approx([PLAIN[name](text) for text in texts], abs=1e-12)
    assert signal(name, []) == []


def test_stop_words_are_found_in_any_case_and_length() -> None:
    texts = ["Гaf ΠAF ΩMEGA " * 3 + "x" * 7, "plain words", "Ωmega", "x" * 200 + " " + "X" * 200, "K"]
    listed = ["af", "ωmega", "k", "x" * 200, "xxxxxxx"]
    plain = [sum(word in listed for word in words(text, lower=True)) / len(words(text, lower=True)) for text in texts]
    assert signal("stopwords_ratio", texts, words=listed) == pytest.approx(plain)


def test_ngrams_of_other_lengths() -> None:
    texts = random_texts()
    assert signal("character_repetition", texts, num_chars=3) == pytest.approx([most_frequent(text, 3) for text in texts])
    assert signal("word_repetition", texts, num_words=1) == pytest.approx([repeated_words(text, 1) for text in texts])


def test_repeated_characters_over_more_text_and_more_letters_than_one_part_holds() -> None:
    chinese = "".join(chr(0x4E00 + 7 * number) for number in range(300))
    letters = "".join(chr(0x100 + number) for number in range(120))
    texts = [text + more for text in documents()[:100] for more in ("", " é – ", chinese[:150] * 2, letters * 2)]
    assert sum(map(len, texts)) > 2 * PART_BYTES
    assert signal("character_repetition", texts) == pytest.approx([most_frequent(text) for text in texts], abs=1e-12)


def test_what_is_left_of_a_batch_is_measured_as_a_batch_of_its_own() -> None:
    texts = random_texts(more=TURNING + OTHER_LENGTH)
    mask = np.arange(len(texts)) % 3 > 0
    whole = measured(rows_of(texts), "text")
    whole.alive = mask
    alone = measured(rows_of([text for text, stays in zip(texts, mask, strict=True) if stays]), "text")
    assert whole.lower_words.count[mask].tolist() == alone.lower_words.count.tolist()
    assert not whole.lower_words.count[~mask].any()
    left = whole.filter(mask)
    for found, made in ((left.lower, alone.lower), (left.characters, alone.characters)):
        assert (found.raw, found.starts.tolist(), found.codes.tolist()) == (made.raw, made.starts.tolist(), made.codes.tolist())
    assert left.lower_words.hashes.tolist() == alone.lower_words.hashes.tolist()


def test_shares_by_hand() -> None:
    assert signal("punctuation_ratio", ["a, b!", "好，好。", ""], max_ratio=0.4) == [0.4, 0.5, 0.0]
    assert signal("parentheses_ratio", ["f(x)", "（好）", "x"]) == [0.5, 2 / 3, 0.0]
    assert signal("url_ratio", ["see http://a.bc/d now", "none", "https://x.y"]) == [13 / 21, 0.0, 1.0]


def test_comments_of_each_style() -> None:
    assert signal("comment_ratio", ["# a\nx=1", "x = '#1'", ""], style="hash") == [3 / 7, 0.0, 0.0]
    assert signal("comment_ratio", ["/* a\n b */x", "u = 'http://a'", "f();// b"], style="slash") == [10 / 11, 0.0, 5 / 8]
    assert signal("comment_ratio", ["-- a\nSELECT 1"], style="dash") == [4 / 13]


def test_stop_words_of_both_languages_and_of_a_list(tmp_path: Path) -> None:
    assert signal("stopwords_ratio", ["The cat sat on the mat.", "cat mat", ""]) == [0.5, 0.0, 0.0]
    assert signal("stopwords_ratio", ["我爱的是你", "北京天安门"], language="zh") == [0.8, 0.0]
    listed = tmp_path / "stopwords.json"
    listed.write_text('{"en": ["cat"], "fr": ["le"]}')
    assert signal("stopwords_ratio", ["the cat", "le chat"], file=str(listed), language="all") == [0.5, 0.5]
    with pytest.raises(ValueError, match="has no language 'de'; it has en, fr"):
        make("stopwords_ratio", file=str(listed), language="de")
    with pytest.raises(InvalidValue, match="no built-in list of stop words for 'fr'"):
        make("stopwords_ratio", language="fr")


def test_flagged_words_need_a_list_and_a_changed_file_is_another_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="Give words, file, or builtin"):
        make("flagged_words_ratio")
    assert signal("flagged_words_ratio", ["Shit! happens", "it does"], builtin=True) == [0.5, 0.0]
    listed = tmp_path / "bad.txt"
    listed.write_text("ham\n")
    first = make("flagged_words_ratio", file=str(listed)).config
    listed.write_text("spam\n")
    assert make("flagged_words_ratio", file=str(listed)).config.sha256 != first.sha256
    with pytest.raises(ValueError, match="it is not the file of this run"):
        type(first).model_validate(first.model_dump())


def test_limits_are_kept_and_must_be_in_order() -> None:
    rows = rows_of(["one two", "one two three", "one"])
    assert kept(make("num_words", min_words=2, max_words=2), rows) == [0]
    assert kept(make("num_words", min_words=2), rows) == [0, 1]
    with pytest.raises(ValueError, match="the lowest value kept, 5, is above the highest, 2"):
        make("num_words", min_words=5, max_words=2)
    with pytest.raises(ValueError, match="max_ratio"):
        make("punctuation_ratio")


def test_batches_may_be_cut_anywhere(tmp_path: Path) -> None:
    """Every filter, over real text, in one batch and in many: the same rows with the same numbers."""
    rows = [{"text": text} for text in [*documents()[:150], "", "一二三", "😀"]]
    given: dict[str, dict[str, object]] = {
        "punctuation_ratio": {"max_ratio": 0.5}, "flagged_words_ratio": {"builtin": True}, "parentheses_ratio": {}, "url_ratio": {},
        "stopwords_ratio": {"min_ratio": 0.1}, "where": {"expression": "len(text) != 1"},
    }  # fmt: skip
    process = [{name: given.get(name, {})} for name in (*PLAIN, *given)]
    whole = run(tmp_path / "a", rows, process, keep_signals=True).scan().collect()
    cut = run(tmp_path / "b", rows, process, keep_signals=True, read={"batch_bytes": 2000, "slice_bytes": 20000}).scan().collect()
    assert 20 < whole.height < 150
    assert whole.equals(cut)
