"""Summaries of texts of any length. What does not fit the context is summarised part by part, and the parts' summaries once
more, until one question holds them all.

A summary that reaches max_tokens ends with its last whole sentence; where there is none, that is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

from llmos.apps.base import answers, count_tokens, greedy, need_writer, parts_of
from llmos.engine.generation import Completion
from llmos.engine.session import Session
from llmos.errors import ContextLengthExceeded, EngineError
from llmos.text.split import sentences
from llmos.types import Family, Sampling

MAX_TOKENS = 160
_CHAT = "Summarize the following text in at most {words} words. Reply with the summary only.\n\n{text}"
_BASE = "{text}\n\nTL;DR:"
_ENDS = (".", "!", "?", "…", "。", "！", "？", '"', "”", "’", "»", ")", "」", "』")


@overload
def summarize(  # type: ignore[overload-overlap]  # a str is a Sequence[str] as well; the first overload wins
    session: Session, texts: str, *, sampling: Sampling | None = None
) -> str: ...


@overload
def summarize(session: Session, texts: Sequence[str], *, sampling: Sampling | None = None) -> list[str]: ...


def summarize(session: Session, texts: str | Sequence[str], *, sampling: Sampling | None = None) -> str | list[str]:
    """sampling: greedy by default; its max_tokens bounds each summary (160, or a quarter of the context).
    An empty text has an empty summary.

    Raises UnsupportedFeature for a model that cannot write, ContextLengthExceeded when the context is too short for parts of a
    useful length or max_tokens for a sentence, EngineError when the model does not shorten.
    """
    need_writer(session, "summarize")
    sampling = greedy(sampling)
    own = min(MAX_TOKENS, session.context_length // 4) if session.context_length else MAX_TOKENS
    sampling = replace(sampling, max_tokens=sampling.max_tokens or own)
    listed = [texts] if isinstance(texts, str) else list(texts)
    found = [_summary(session, text, sampling) if text.strip() else "" for text in listed]
    return found[0] if isinstance(texts, str) else found


def _summary(session: Session, text: str, sampling: Sampling) -> str:
    prompt = _prompt(session, sampling)
    while True:
        parts = parts_of(session, text, prompt, answer_tokens=sampling.max_tokens or 0)
        found = answers(session, [(prompt.replace("{text}", part.strip()), sampling) for part in parts if part.strip()])
        written = [_whole_sentences(completion, sampling) for completion in found]
        if len(written) == 1:
            return written[0]
        joined = "\n".join(filter(None, written))
        if count_tokens(session, joined) >= count_tokens(session, text):
            raise EngineError(
                f"{session.card.ref} does not shorten: {count_tokens(session, text)} tokens became "
                f"{count_tokens(session, joined)}.",
                hint="Use a larger model, or a smaller max_tokens.",
            )
        text = joined


def _prompt(session: Session, sampling: Sampling) -> str:
    if session.family is Family.SEQ2SEQ:  # T5 was trained with a prefix; BART and Pegasus do nothing but summarise
        return "summarize: {text}" if "t5" in session.base.architecture.casefold() else "{text}"
    if not session.chats:
        return _BASE
    assert sampling.max_tokens is not None
    return _CHAT.replace("{words}", str(max(10, sampling.max_tokens * 3 // 5)))  # a word of English has 1.3 tokens


def _whole_sentences(completion: Completion, sampling: Sampling) -> str:
    text = completion.text.strip()
    if completion.finish_reason != "length":
        return text
    *whole, last = sentences(text) or [""]
    kept = "".join(whole if not last.rstrip().endswith(_ENDS) else [*whole, last]).strip()
    if not kept:
        raise ContextLengthExceeded(
            f"The summary did not come to the end of a sentence within {sampling.max_tokens} tokens.",
            param="max_tokens",
            hint="Allow more tokens.",
        )
    return kept
