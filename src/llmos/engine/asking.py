"""Asking a model questions about texts, in its own way, and cutting long texts into parts that fit: for use cases and data steps.

Nothing is ever truncated: what does not fit is read in parts, and an answer that did not come to its end is an error or, where the
caller says so, ends with its last whole sentence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from llmos.engine.choice import Work
from llmos.engine.generation import Completion, Generation
from llmos.engine.session import Session
from llmos.errors import ContextLengthExceeded, LLMOSError, UnsupportedFeature
from llmos.text.split import split_text
from llmos.types import Family, Message, Sampling

IN_FLIGHT = 16  # generations at once: a running batch, and no more
PART_TOKENS = 512  # of a text in one question; small models lose the thread in longer ones
SLACK_TOKENS = 48  # an answer may have more than its share, for short texts
_TEMPLATE_TOKENS, _SPECIAL_TOKENS = 128, 4  # what a chat template, or a tokenizer, puts around a prompt
_REMOTE_CONTEXT = 4096  # of a remote model that does not say


def greedy(sampling: Sampling | None) -> Sampling:
    """The sampling given, else the best answer each time."""
    return sampling if sampling is not None else Sampling(temperature=0.0)


def need_writer(session: Session, what: str) -> None:
    """Raises UnsupportedFeature when the model cannot write."""
    if session.family not in (Family.CAUSAL, Family.SEQ2SEQ, Family.REMOTE):
        raise UnsupportedFeature(
            f"{session.card.ref} is a {session.family.value} model; it writes no text and cannot {what}.",
            param="model",
            hint="Use a causal or sequence-to-sequence model, such as qwen2.5-coder-1.5b-instruct or t5-base.",
        )


def count_tokens(session: Session, text: str) -> int:
    """Tokens of a text; for a remote model, whose tokenizer is not known, one for two characters, more than any language has."""
    return session.count_tokens(text) if session.tokenizer is not None else (len(text) + 1) // 2


def start(session: Session, prompt: str, sampling: Sampling, *, work: Work = "mixed", stream: bool = False) -> Generation:
    """Asks an instruct or remote model in a chat, any other by its bare prompt. work and stream: as for Session.chat."""
    if not session.chats:
        return session.complete(prompt, sampling, work=work, stream=stream)
    asked = [Message(role="user", content=prompt)]
    return session.chat(asked, sampling, extra={"enable_thinking": False}, work=work, stream=stream)


def answers(session: Session, asked: Iterable[tuple[str, Sampling]]) -> list[Completion]:
    """The answer to each prompt, in order, IN_FLIGHT at once. When one fails the others are cancelled."""
    found: list[Completion] = []
    running: deque[Generation] = deque()
    try:
        for prompt, sampling in asked:
            if len(running) >= IN_FLIGHT:
                found.append(running.popleft().result()[0])
            running.append(start(session, prompt, sampling))
        while running:
            found.append(running.popleft().result()[0])
    except LLMOSError:
        for generation in running:
            generation.cancel()
        raise
    return found


def parts_of(
    session: Session, text: str, prompt: str, *, answer_share: float = 0.0, answer_tokens: int = 0, most: int | None = None
) -> list[str]:
    """The text in parts, each of which fits the context together with `prompt` (the question around it) and an answer of
    answer_tokens, or of answer_share times its length. most: tokens of a part at most. "".join of them is the text."""
    reads_only = session.family is Family.SEQ2SEQ  # what it writes takes no room from what it reads
    context = session.context_length or _REMOTE_CONTEXT
    around = count_tokens(session, prompt) + (_SPECIAL_TOKENS if reads_only else _TEMPLATE_TOKENS + SLACK_TOKENS)
    room = context - around if reads_only else int((context - around - answer_tokens) / (1 + answer_share))
    if room < 8:
        raise ContextLengthExceeded(
            f"The context of {session.card.ref} is {context} tokens; the question takes {around} and its answer up to "
            f"{answer_tokens}, which leaves no room for a text.",
            param="max_tokens" if answer_tokens else "model",
            hint="Use a model with a longer context, or fewer max_tokens.",
        )
    return split_text(text, lambda part: count_tokens(session, part), min(room, most or room))


def with_room(session: Session, sampling: Sampling, text: str, *, answer_share: float) -> Sampling:
    """max_tokens where the caller set none: answer_share times the text, and some more for short ones."""
    if sampling.max_tokens is not None:
        return sampling
    room = int(count_tokens(session, text) * answer_share) + SLACK_TOKENS
    limit = session.context_length if session.family is Family.SEQ2SEQ and session.context_length else room
    return replace(sampling, max_tokens=min(room, limit))
