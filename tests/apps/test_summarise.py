"""Summaries: of short texts at once, of long ones part by part; no half sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmos.apps.summarise import summarize
from llmos.errors import ContextLengthExceeded, EngineError, UnsupportedFeature
from llmos.types import Family, Sampling
from tests.apps.echo import echo

LONG = "\n\n".join(f"Paragraph {i} tells of many things. It has two sentences that are of some length." for i in range(80))


def first_words(prompt: str) -> str:
    """ "Paragraph 7 tells" of the text that starts with it."""
    text = prompt.rpartition("summarize: ")[2].rpartition("only.\n\n")[2]
    return " ".join(text.split()[:3]).rstrip(".") + "."


def test_short_text_is_one_question(tmp_path: Path) -> None:
    t5, engine = echo(tmp_path, first_words, Family.SEQ2SEQ, architecture="t5")
    assert summarize(t5, "Three little words here.") == "Three little words."
    assert engine.asked[0][0] == "summarize: Three little words here."
    bart, engine = echo(tmp_path, first_words, Family.SEQ2SEQ, architecture="bart")
    assert summarize(bart, ["One two three four.", " "]) == ["One two three.", ""]
    assert engine.asked[0][0] == "One two three four."
    chat, engine = echo(tmp_path, first_words)
    summarize(chat, "A text.", sampling=Sampling(max_tokens=100))
    assert "in at most 60 words" in engine.asked[0][0]
    base, engine = echo(tmp_path, first_words, template=False)
    summarize(base, "A text.")
    assert engine.asked[0][0] == "A text.\n\nTL;DR:"


def test_long_text_is_read_to_its_end(tmp_path: Path) -> None:
    """Every paragraph is in a question; the parts' summaries are summarised until one is left."""
    session, engine = echo(tmp_path, first_words, context_length=1024)
    assert summarize(session, LONG) == "Paragraph 0 tells."
    asked = "".join(prompt for prompt, _ in engine.asked)
    assert all(f"Paragraph {i} tells of many things" in asked for i in range(80))
    assert all(len(prompt) < 1024 for prompt, _ in engine.asked)
    assert "Paragraph 0 tells.\nParagraph" in engine.asked[-1][0]


def test_a_summary_ends_with_a_whole_sentence(tmp_path: Path) -> None:
    session, _ = echo(tmp_path, lambda prompt: "A first sentence. A second one! And a third that is cut")
    assert summarize(session, "x", sampling=Sampling(max_tokens=40)) == "A first sentence. A second one!"
    assert summarize(session, "x") == "A first sentence. A second one! And a third that is cut"
    with pytest.raises(ContextLengthExceeded, match="within 10 tokens") as caught:
        summarize(session, "x", sampling=Sampling(max_tokens=10))
    assert caught.value.param == "max_tokens"


def test_a_model_that_does_not_shorten_is_an_error(tmp_path: Path) -> None:
    session, _ = echo(tmp_path, lambda prompt: "So be it. " * 9, Family.SEQ2SEQ, architecture="t5", context_length=100)
    with pytest.raises(EngineError, match="does not shorten"):
        summarize(session, LONG[:500], sampling=Sampling(max_tokens=95))


def test_refusals(tmp_path: Path) -> None:
    session, _ = echo(tmp_path, first_words, context_length=300)
    with pytest.raises(ContextLengthExceeded, match="leaves no room"):
        summarize(session, LONG, sampling=Sampling(max_tokens=200))
    masked, _ = echo(tmp_path, first_words, Family.MASKED)
    with pytest.raises(UnsupportedFeature, match="cannot summarize"):
        summarize(masked, "x")
