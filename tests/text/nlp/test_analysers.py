"""What every analyser promises: places in the text itself, nothing lost, for any input; and what each finds in real sentences."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.errors import InvalidValue, MissingExtra, UnsupportedFeature
from llmos.settings import Settings
from llmos.text.nlp import Analyser, Analysis, LanguageTools, analysers
from llmos.text.nlp.tagsets import UPOS

ENGLISH = "Mr. Smith didn't pay $3.50 in New York. \"Why?\" asked John's well-known friend."
CHINESE = "张三在北京市的中国银行工作。他说：“今天天气很好！”２０２４年３月他去了上海。"
ODD = [
    "",
    " ",
    "\n\t\r\n ",
    "😀👨‍👩‍👧 ok",
    "a\x00b\x1fc",
    "...!!!???",
    "\ud83d half",
    "שלום עולם",
    "我love你 x",
    "１２３ ＡＢＣ",
    "\u200b\ufeff",
    "-" * 300,
]
MIXED = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("ab .'’!?\n\t\"“”$%0１年我们北京，。！的…—-@&ü😀\u3000\x00\x85\ud800")),
    max_size=60,
)
ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(text: str, answer: Analysis) -> None:
    assert answer.text == text
    assert len(answer.words) == len(answer.pos) == len(answer.native)
    for spans in (answer.words, answer.sentences):
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        covered = "".join(text[start:end] for start, end in spans)
        assert "".join(covered.split()) == "".join(text.split())
    assert not any(sign.isspace() for word in answer.word_texts() for sign in word)
    assert set(answer.pos) <= {*UPOS, ""}
    assert all(text[one.start : one.end] == one.text and one.text.strip() == one.text != "" for one in answer.entities)
    assert [(token.start, token.end) for token in answer.tokens()] == answer.words


@ANY
@given(texts=st.lists(MIXED, max_size=4))
def test_nothing_is_lost(analyser: Analyser, texts: list[str]) -> None:
    answers = analyser.analyse(texts)
    assert len(answers) == len(texts)
    for text, answer in zip(texts, answers, strict=True):
        check(text, answer)


def test_odd_texts(analyser: Analyser) -> None:
    for text, answer in zip([*ODD, ENGLISH, CHINESE], analyser.analyse([*ODD, ENGLISH, CHINESE]), strict=True):
        check(text, answer)
    assert analyser.analyse([]) == []


def test_a_text_is_analysed_the_same_alone_and_among_others(analyser: Analyser) -> None:
    texts = [ENGLISH, CHINESE, *ODD, CHINESE * 3, ENGLISH * 2]
    assert analyser.analyse(texts) == [analyser.analyse([text])[0] for text in texts]


@pytest.mark.parametrize(
    "text", ["word " * 200_000, "x" * 1_000_000, "!" * 50_000 + "a" * 950_000, "a.b-" * 20_000, " \n" * 500_000]
)
def test_a_megabyte(small_english: Analyser, with_files: Settings, text: str) -> None:
    for one in (small_english, analysers.get("jieba").load(with_files), analysers.get("plain").load(with_files)):
        check(text, one.analyse([text])[0])


def test_a_long_chinese_text(with_files: Settings) -> None:
    lac = analysers.get("lac").load(with_files)
    for text in (CHINESE * 500, "天" * 20_000, "我们，" * 5000):
        check(text, lac.analyse([text])[0])


def test_english(small_english: Analyser) -> None:
    (answer,) = small_english.analyse([ENGLISH])
    assert answer.sentence_texts() == ["Mr. Smith didn't pay $3.50 in New York.", '"Why?" asked John\'s well-known friend.']
    found = [(token.text, token.pos) for token in answer.tokens()]
    assert found[:6] == [("Mr.", "PROPN"), ("Smith", "PROPN"), ("did", "VERB"), ("n't", "PART"), ("pay", "VERB"), ("$3.50", "NOUN")]
    assert ("'s", "PART") in found
    assert found[-3:] == [("well-known", "ADJ"), ("friend", "NOUN"), (".", "PUNCT")]
    assert [small_english.tag_words([[mark, "Why", "?", mark]])[0][0] for mark in ('"', "“")] == [("PUNCT", "``")] * 2
    assert small_english.tag_words([["They", "sleep", "."], []]) == [[("PRON", "ppss"), ("VERB", "vb"), ("PUNCT", ".")], []]


def test_lac(with_files: Settings) -> None:
    lac = analysers.get("lac").load(with_files)
    (answer,) = lac.analyse([CHINESE])
    assert answer.sentence_texts()[0] == "张三在北京市的中国银行工作。"
    assert [(one.text, one.label) for one in answer.entities] == [
        ("张三", "PERSON"),
        ("北京市", "PLACE"),
        ("中国银行", "ORGANISATION"),
        ("今天", "TIME"),
        ("２０２４年３月", "TIME"),
        ("上海", "PLACE"),
    ]
    assert lac.tag([CHINESE])[0][0] == answer.tokens()[0]
    assert (answer.tokens()[0].entity, answer.tokens()[1].entity) == ("PERSON", "")
    given_words = [["我们", "爱", "北京", "天安门", "。"], [], ["天" * 450, "好"]]
    tagged = lac.tag_words(given_words)
    assert [pos for pos, _ in tagged[0]] == ["PRON", "VERB", "PROPN", "PROPN", "PUNCT"]
    assert [len(one) for one in tagged] == [5, 0, 2]


def test_jieba(with_files: Settings) -> None:
    jieba = analysers.get("jieba").load(with_files)
    (answer,) = jieba.analyse(["我爱北京天安门，😀 hello！"])
    assert answer.word_texts() == ["我", "爱", "北京", "天安门", "，", "😀", "hello", "！"]
    assert answer.pos == ["PRON", "VERB", "PROPN", "PROPN", "PUNCT", "SYM", "X", "PUNCT"]
    assert [one.label for one in answer.entities] == ["PLACE", "PLACE"]
    with pytest.raises(UnsupportedFeature, match="cannot tag given ones"):
        jieba.tag_words([["我"]])


def test_what_an_analyser_cannot_do_is_an_error(small_english: Analyser) -> None:
    with pytest.raises(UnsupportedFeature, match=r"gives no entities.*These give entities: jieba, lac, spacy"):
        small_english.entities(["John lives in Paris."])
    with pytest.raises(UnsupportedFeature, match="plain gives no pos"):
        analysers.get("plain").load(Settings.from_env({})).tag(["x"])


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_without_spacy_the_command_is_told(settings: Settings) -> None:
    kind = analysers.get("spacy")
    assert not kind.available(settings).ok
    assert "pip install 'llmos[spacy]'" in kind.available(settings).why
    with pytest.raises(MissingExtra):
        kind.load(settings)


def test_tools_choose_by_language(with_files: Settings, small_english: Any) -> None:
    tools = LanguageTools(with_files)
    tools._loaded["english"] = small_english
    texts = [
        "The old man went home because it was late.",
        "我们今天去北京大学图书馆看书。",
        "Les enfants jouent dans le jardin.",
        "42",
    ]
    answers = tools.analyse(texts)
    assert [one.analyser for one in answers] == ["english", "lac", "plain", "plain"]
    assert [one.text for one in answers] == texts
    assert answers[2].pos == [""] * len(answers[2].words)
    assert [one.analyser for one in tools.analyse(texts, language="Chinese")] == ["lac"] * 4
    assert tools.analyse(texts[1:2], analyser="jieba")[0].analyser == "jieba"
    assert sorted(tools.available()) == ["english", "jieba", "lac", "plain", "spacy"]
    with pytest.raises(InvalidValue, match="one string"):
        tools.analyse("text")
