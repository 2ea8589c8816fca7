"""Languages by any of their names."""

from __future__ import annotations

import pytest

from llmos.errors import InvalidValue
from llmos.text.languages import language, languages


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("fr", "fr"), ("FR", "fr"), ("fra", "fr"), ("fre", "fr"), ("French", "fr"), ("français", "fr"), ("fr-CA", "fr"), ("fr_FR", "fr"),
        ("中文", "zh"), ("zh-CN", "zh"), ("zh-Hans-SG", "zh"), ("zh-TW", "zh-hant"), ("zh_Hant_TW", "zh-hant"), ("deu", "de"), ("no", "no"),
        ("nb", "no"), ("pt-BR", "pt"), (" English ", "en"),
    ],
)  # fmt: skip
def test_names_and_codes(name: str, code: str) -> None:
    assert language(name).code == code


def test_every_language_is_found_by_all_it_says() -> None:
    assert len(languages()) > 70
    for entry in languages():
        assert language(entry.code) == language(entry.name) == entry
        assert len(entry.three) == 3


def test_unknown_language_lists_the_known_ones() -> None:
    with pytest.raises(InvalidValue, match="Klingon") as caught:
        language("Klingon", param="target_language")
    assert caught.value.param == "target_language"
    assert "French (fr)" in caught.value.hint
    with pytest.raises(InvalidValue) as caught:
        language("frensh")
    assert "Did you mean french" in caught.value.hint
    with pytest.raises(InvalidValue):
        language("")
