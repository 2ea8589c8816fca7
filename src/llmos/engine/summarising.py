"""How each kind of model is asked for a summary, and what is kept of an answer that ran out of room."""

from __future__ import annotations

from dataclasses import replace

from llmos.engine.asking import greedy
from llmos.engine.generation import Completion
from llmos.engine.session import Session
from llmos.errors import ContextLengthExceeded
from llmos.text.split import sentences
from llmos.types import Family, Sampling

MAX_TOKENS = 160
_CHAT = "Summarize the following text in at most {words} words. Reply with the summary only.\n\n{text}"
_BASE = "{text}\n\nTL;DR:"
_ENDS = (".", "!", "?", "…", "。", "！", "？", '"', "”", "’", "»", ")", "」", "』")


def summary_sampling(session: Session, sampling: Sampling | None) -> Sampling:
    """Greedy unless told otherwise; max_tokens is MAX_TOKENS, or a quarter of a short context."""
    sampling = greedy(sampling)
    own = min(MAX_TOKENS, session.context_length // 4) if session.context_length else MAX_TOKENS
    return replace(sampling, max_tokens=sampling.max_tokens or own)


def summary_prompt(session: Session, sampling: Sampling) -> str:
    """With {text} in it."""
    if session.family is Family.SEQ2SEQ:  # T5 was trained with a prefix; BART and Pegasus do nothing but summarise
        return "summarize: {text}" if "t5" in session.base.architecture.casefold() else "{text}"
    if not session.chats:
        return _BASE
    assert sampling.max_tokens is not None
    return _CHAT.replace("{words}", str(max(10, sampling.max_tokens * 3 // 5)))  # a word of English has 1.3 tokens


def whole_sentences(completion: Completion, sampling: Sampling) -> str:
    """The answer up to the end of its last whole sentence. Raises ContextLengthExceeded when there is none."""
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
