"""Where sentences end: abbreviations, initials, numbers, quotes, lists, lines; English, Chinese and both."""

from __future__ import annotations

import pytest

from llmos.text.nlp.cutting import word_spans
from llmos.text.sentences import sentence_spans


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. Smith paid $3.14 to Dr. J. R. Jones.", "He left."],
        ["He works for Acme Inc. in the U.S. and Europe.", "She does not."],
        ["It was in the U.S.", "The war began at 5 p.m.", "They slept."],
        ["Apples, pears, etc.", "The rest is here."],
        ['"Really?" he asked.', '"Yes!"', "She went."],
        ["See Fig. 3 and No. 5.", "No.", "I can't."],
        ["So do I.", "Wait...", "What?!", "OK."],
        ["Wait... he said.", "(He knew.)", "Then it ended."],
        ["Use version 2.0.1 of llmos.text, e.g. this one.", "Go to https://a.b/c.d?x=1.", "Done"],
        ["Born Jan. 5, 1990 in Springfield, Mass. and raised there.", "The end."],
    ],
)
def test_english(sentences: list[str]) -> None:
    assert cut(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["他说：“今天天气很好。”", "然后走了。"],
        ["真的吗？！", "是的……也许吧。", "价格是3.5元。"],
        ["第一句；还是第一句。", "（第二句！）", "最后一句没有句号"],
        ["你好!", "我是Mr. Wang。", "OK？", "好。"],
    ],
)
def test_chinese(sentences: list[str]) -> None:
    assert cut("".join(sentences)) == sentences


def test_lines() -> None:
    assert cut("A line that is wrapped\nand goes on.\nA title\n\nText  \r\n\r\n  end") == [
        "A line that is wrapped\nand goes on.",
        "A title",
        "Text",
        "end",
    ]
    assert cut("1. First thing.\n2. Second thing.") == ["1. First thing.", "2. Second thing."]
    assert cut("第一行\n第二行") == ["第一行", "第二行"]
    assert cut(" \n ") == cut("") == []


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't, we'll; it’s John's.", "I ca n't , we 'll ; it ’s John 's ."),
        ("cannot gonna boys' o'clock", "can not gonna boys ' o'clock"),
        ("well-known 10-year-old co-op. etc. (Inc.)", "well-known 10-year-old co-op . etc. ( Inc. )"),
        ("$1,000.50 50% 7:30 1/2 20th 3.", "$1,000.50 50% 7:30 1/2 20th 3 ."),
        ("mail me@x.org, https://a.b/c?d=e. U.S.A. J.R. Smith", "mail me@x.org , https://a.b/c?d=e . U.S.A. J.R. Smith"),
        ("\"Quoted\" ``text'' -- and—more… R&D", "\" Quoted \" `` text '' -- and — more … R&D"),
        ("我爱Python编程 naïve_café", "我爱 Python 编程 naïve_café"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()
