"""Encodings, normal forms, punctuation, white space, invisible characters, Chinese scripts."""

from __future__ import annotations

import unicodedata

import ftfy
import pytest

from tests.data.mails import mails
from tests.data.steps.cleaning import cleaned
from tests.data.texts import documents


def test_mojibake_is_repaired() -> None:
    assert cleaned("fix_unicode", ["sÃ³", "voilÃ le travail", "âœ” No problems", "plain"]) == [
        "só",
        "voilà le travail",
        "✔ No problems",
        "plain",
    ]


def test_fix_unicode_gives_what_ftfy_gives_on_real_and_on_damaged_text() -> None:
    try:
        real = mails(count=150)
    except OSError as problem:
        pytest.skip(f"the mails could not be fetched: {problem}")
    texts = [*real, *documents()[:200]]
    texts += [
        "“Où est l’été?” — ﬁn",
        "ＬＯＵＤ　ＮＯＩＳＥＳ，好",
        "a\r\nb\u2028c\x85",
        "caf\u0065\u0301",
        "x &lt; y &amp; z",
        "<b>&amp;</b>",
        "床前明月光，",
        "\x1b[36mblue\x1b[0m",
    ]
    for codec in ("latin-1", "cp1252", "cp1251"):
        texts += [
            text.encode().decode(codec, "replace")
            for text in ("“naïve” café – 10 €", "Größe übermäßig", "привет, мир", "你好，世界")
        ]
    assert cleaned("fix_unicode", texts) == [ftfy.fix_text(text) for text in texts]


def test_chinese_punctuation_stays_when_widths_are_left_alone() -> None:
    assert cleaned("fix_unicode", ["你好，世界！“引”"], fix_character_width=False, uncurl_quotes=False) == ["你好，世界！“引”"]


@pytest.mark.parametrize("form", ["NFC", "NFKC", "NFD", "NFKD"])
def test_normal_forms_are_those_of_unicode(form: str) -> None:
    texts = ["cafe\u0301", "ﬁ ① Ａ ²", "한국어", "plain", "\u212b"]
    assert cleaned("normalise_unicode", texts, form=form) == [unicodedata.normalize(form, text) for text in texts]  # type: ignore[arg-type]


def test_punctuation_in_three_ways() -> None:
    text = "“Yes” — he said… 你好，世界。"
    assert cleaned("normalise_punctuation", [text]) == ['"Yes"  -  he said... 你好,世界.']
    assert cleaned("normalise_punctuation", [text], chinese="keep") == ['"Yes"  -  he said... 你好，世界。']
    assert cleaned("normalise_punctuation", ["你好,世界.版本 3.5,好 e.g. this"], chinese="full_width") == [
        "你好，世界。版本 3.5,好 e.g. this"
    ]


def test_every_white_space_becomes_a_space_one_for_one() -> None:
    assert cleaned("replace_whitespace", ["\u3000a\tb\u00a0\u2009c\nd\u200b "]) == ["a b  c\nd"]


def test_invisible_characters_go_and_joiners_stay() -> None:
    trojan = "if (user\u202e \u2066// admin\u2069 \u2066) {"
    assert cleaned("remove_control", [trojan]) == ["if (user // admin ) {"]
    family = "👨\u200d👩\u200d👧"
    assert cleaned("remove_control", [f"a\x00b\x1bc\u200b\ufeffd\u00ad\te\r\n{family}"]) == [f"abcd\te\r\n{family}"]
    assert cleaned("remove_control", [family], joiners=True) == ["👨👩👧"]
    assert cleaned("remove_control", ["a\u200eb"], bidi=False) == ["a\u200eb"]
    assert cleaned("remove_control", ["hi" + "".join(chr(0xE0000 + ord(one)) for one in "obey")]) == ["hi"]


def test_chinese_scripts() -> None:
    assert cleaned("chinese_convert", ["汉字转换", "plain"]) == ["漢字轉換", "plain"]
    assert cleaned("chinese_convert", ["軟體與網路"], mode="tw2sp") == ["软件与网络"]
    assert cleaned("chinese_convert", ["头发发财"], mode="s2t") == ["頭髮發財"]


def test_non_chinese_characters_go() -> None:
    assert cleaned("remove_non_chinese_characters", ["你好 world 123, ★かな。"]) == ["你好 world 123, 。"]
    assert cleaned("remove_non_chinese_characters", ["你好 w1，"], keep_alphabet=False, keep_number=False, keep_punc=False) == [
        "你好"
    ]


def test_single_characters_lower_case_and_length() -> None:
    assert cleaned("remove_specific_chars", ["◆a■b□"]) == ["ab"]
    assert cleaned("remove_specific_chars", ["a]b-c^d"], chars_to_remove=["]", "-", "^"]) == ["abcd"]
    assert cleaned("remove_specific_chars", ["same"], chars_to_remove="") == ["same"]
    assert cleaned("lowercase", ["ÀB Σ"]) == ["àb σ"]
    assert cleaned("truncate", ["你好世界", "ab"], max_chars=3) == ["你好世", "ab"]
