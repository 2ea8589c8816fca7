"""Language id on real sentences, empty and odd texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmos.errors import CorruptFile, InvalidValue
from llmos.settings import Settings
from llmos.text.nlp import LanguageIdentifier, identifier, identify

REAL = {
    "en": "The committee has approved the new budget\nafter a long debate.",
    "zh": "大语言模型正在改变软件开发的方式。",
    "fr": "Le comité a approuvé le nouveau budget après un long débat.",
    "de": "Der Ausschuss hat den neuen Haushalt nach langer Debatte gebilligt.",
    "ja": "委員会は長い議論の末、新しい予算を承認しました。",
    "ru": "Комитет одобрил новый бюджет после долгих дебатов.",
    "ar": "وافقت اللجنة على الميزانية الجديدة بعد نقاش طويل.",
}


def test_real_sentences(with_files: Settings) -> None:
    found = identify(list(REAL.values()), settings=with_files)
    assert [code for code, _ in found] == list(REAL)
    assert all(0.5 < chance <= 1 for _, chance in found)


def test_odd_texts(with_files: Settings) -> None:
    odd = ["", " \n", "123 !!", "😀", "\n\x00a\r\n", "\ud800 the cat sat", "the cat sat on the mat " * 50_000]
    found = identify(odd, settings=with_files)
    assert found[:4] == [("und", 0.0)] * 4
    assert [code for code, _ in found[5:]] == ["en", "en"]
    assert identify([], settings=with_files) == []


def test_candidates(with_files: Settings) -> None:
    known = identifier(with_files)
    (found,) = known.candidates([REAL["fr"]], 3)
    assert (len(dict(found)), found[0][0]) == (3, "fr")
    assert found == sorted(found, key=lambda one: -one[1])
    with pytest.raises(InvalidValue, match="k is 0; it must be 1 to 176"):
        known.candidates(["x"], 0)


def test_a_broken_model(tmp_path: Path) -> None:
    (tmp_path / "lid.ftz").write_bytes(b"nothing")
    with pytest.raises(CorruptFile, match="is no fastText model"):
        LanguageIdentifier(tmp_path / "lid.ftz")
