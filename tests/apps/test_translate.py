"""Translation: how each kind of model is asked, what is refused, and that long texts come through whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmos.apps.translate import translate
from llmos.engine.translating import style_of
from llmos.errors import ContextLengthExceeded, EngineError, InvalidValue, UnsupportedFeature
from llmos.settings import Settings
from llmos.text.languages import language
from llmos.types import Family, Sampling
from tests.apps.echo import echo
from tests.doubles import fake_pool


def shout(prompt: str) -> str:
    """The text after the prefix or the blank line, in capitals."""
    text = prompt.split("\n\n", 1)[1].rsplit("\nassistant\n", 1)[0] if "\n\n" in prompt else prompt.split(": ", 1)[1]
    return " " + text.upper() + "\n"


def test_t5_prefix(tmp_path: Path) -> None:
    t5, engine = echo(tmp_path, shout, Family.SEQ2SEQ, architecture="t5")
    assert translate(t5, "A house.", "fr") == "A HOUSE."
    assert engine.asked[0][0] == "translate English to French: A house."
    assert engine.asked[0][1].sampling.temperature == 0
    assert translate(t5, ["A.", "", "B."], "German", "en") == ["A.", "", "B."]


@pytest.mark.parametrize(("target", "source", "param"), [("zh", None, "target"), ("en", None, "target"), ("fr", "de", "source")])
def test_t5_knows_what_it_was_trained_on(tmp_path: Path, target: str, source: str | None, param: str) -> None:
    t5, _ = echo(tmp_path, shout, Family.SEQ2SEQ, architecture="t5")
    with pytest.raises(InvalidValue, match="does not support") as caught:
        translate(t5, "x", target, source)
    assert caught.value.param == f"{param}_language"
    known = "French (fr), German (de), Romanian (ro)" if param == "target" else "English (en)"
    assert caught.value.hint == f"Supported: {known}."


def test_languages_of_the_card_count(tmp_path: Path) -> None:
    chat, _ = echo(tmp_path, shout, languages=("en", "fr"))
    assert translate(chat, "A.", "français") == "A."
    with pytest.raises(InvalidValue, match=r"German \(de\)") as caught:
        translate(chat, "A.", "de")
    assert caught.value.hint == "Supported: English (en), French (fr)."
    with pytest.raises(InvalidValue, match="Unknown language 'klingon'"):
        translate(chat, "A.", "klingon")
    with pytest.raises(InvalidValue, match="both French"):
        translate(chat, "A.", "fr", "French")


def test_marian_has_one_direction(tmp_path: Path) -> None:
    marian, engine = echo(tmp_path, str.upper, Family.SEQ2SEQ, architecture="marian", source="hf:Helsinki-NLP/opus-mt-en-fr")
    assert translate(marian, "a house", "fr", "en") == "A HOUSE"
    assert engine.asked[0][0] == "a house"
    with pytest.raises(InvalidValue, match="does not support German"):
        translate(marian, "a", "de")
    with pytest.raises(InvalidValue, match="does not support Spanish"):
        translate(marian, "a", "fr", "es")


def test_instruct_and_base_models_are_asked(tmp_path: Path) -> None:
    chat, engine = echo(tmp_path, shout)
    translate(chat, "A house.", "zh", "en")
    assert (
        "Translate the following text from English to Chinese. Reply with the translation only.\n\nA house." in engine.asked[0][0]
    )
    base, engine = echo(tmp_path, lambda prompt: " Une maison.\nEnglish: more", template=False)
    assert translate(base, "A house.", "fr", "en") == "Une maison."
    assert engine.asked[0][0] == "English: A house.\nFrench:"


def test_long_text_comes_through_whole(tmp_path: Path) -> None:
    """Every word arrives, in order, with paragraphs and line breaks as they were."""
    words = [f"word{i}" for i in range(900)]
    sentences = [" ".join(words[i : i + 9]) + "." for i in range(0, 900, 9)]
    text = "  " + "\n\n".join(" ".join(sentences[i : i + 10]) for i in range(0, 100, 10)) + "\n"
    for family, architecture, context in ((Family.SEQ2SEQ, "t5", 128), (Family.CAUSAL, "fake", 1024)):
        session, engine = echo(tmp_path, shout, family, architecture=architecture, context_length=context)
        assert translate(session, text, "fr") == text.upper()
        assert len(engine.asked) > 5
        assert max(len(prompt) for prompt, _ in engine.asked) < context


def test_spaces_between_parts_follow_the_target_language(tmp_path: Path) -> None:
    def write(prompt: str) -> str:
        return "好。" if "Chinese" in prompt else "Good."

    session, _ = echo(tmp_path, write, context_length=400)
    english, chinese = "This is a sentence of some length. " * 3, "今天天气非常好，我们都出去玩。" * 3
    assert re.fullmatch("(好。)+ ", translate(session, english, "zh"))
    assert re.fullmatch(r"(Good\. )+Good\.", translate(session, chinese, "en"))


def test_a_translation_that_does_not_end_is_an_error(tmp_path: Path) -> None:
    session, _ = echo(tmp_path, lambda prompt: "la " * 1000)
    with pytest.raises(ContextLengthExceeded, match="did not end within 54 tokens"):
        translate(session, "Hi", "fr")
    with pytest.raises(ContextLengthExceeded, match="within 7 tokens") as caught:
        translate(session, "Hi", "fr", sampling=Sampling(max_tokens=7))
    assert caught.value.param == "max_tokens"


def test_one_failure_cancels_the_others(tmp_path: Path) -> None:
    session, engine = echo(tmp_path, lambda prompt: None if "number 1." in prompt else "ok")
    with pytest.raises(EngineError, match="told to fail"):
        translate(session, [f"number {i}." for i in range(40)], "fr")
    assert len(engine.asked) < 40
    assert engine.cancelled > 0


def test_who_cannot_write_is_told(settings: Settings, tmp_path: Path) -> None:
    pool = fake_pool(settings, tmp_path)
    with pytest.raises(UnsupportedFeature, match="encoder model; it writes no text"):
        translate(pool.session("fake-encoder"), "x", "fr")
    with pytest.raises(UnsupportedFeature, match="does not know how"):
        style_of(pool.session("fake-seq2seq"), language("fr"), None)
    pool.close()


def test_context_too_short_for_the_question(tmp_path: Path) -> None:
    session, _ = echo(tmp_path, shout, context_length=200)
    with pytest.raises(ContextLengthExceeded, match="is 200 tokens"):
        translate(session, "x", "fr")
