"""Summaries of texts of any length. What does not fit the context is summarised part by part, and the parts' summaries once
more, until one question holds them all.

A summary that reaches max_tokens ends with its last whole sentence; where there is none, that is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from llmos.engine.asking import answers, count_tokens, need_writer, parts_of
from llmos.engine.session import Session
from llmos.engine.summarising import summary_prompt, summary_sampling, whole_sentences
from llmos.errors import EngineError
from llmos.types import Sampling


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
    sampling = summary_sampling(session, sampling)
    listed = [texts] if isinstance(texts, str) else list(texts)
    found = [_summary(session, text, sampling) if text.strip() else "" for text in listed]
    return found[0] if isinstance(texts, str) else found


def _summary(session: Session, text: str, sampling: Sampling) -> str:
    prompt = summary_prompt(session, sampling)
    while True:
        parts = parts_of(session, text, prompt, answer_tokens=sampling.max_tokens or 0)
        found = answers(session, [(prompt.replace("{text}", part.strip()), sampling) for part in parts if part.strip()])
        written = [whole_sentences(completion, sampling) for completion in found]
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
