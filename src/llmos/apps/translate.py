"""Translation with whatever model is there (engine/translating.py says how each is asked).

Long texts are translated part by part, many at once. Nothing is cut off: a part whose translation does not end is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from llmos.engine.asking import answers, greedy, need_writer
from llmos.engine.session import Session
from llmos.engine.translating import Style, asked, cut, joined, style_of
from llmos.errors import ContextLengthExceeded
from llmos.text.languages import language
from llmos.types import Sampling


@overload
def translate(  # type: ignore[overload-overlap]  # a str is a Sequence[str] as well; the first overload wins
    session: Session,
    texts: str,
    target_language: str,
    source_language: str | None = None,
    *,
    sampling: Sampling | None = None,
) -> str: ...


@overload
def translate(
    session: Session,
    texts: Sequence[str],
    target_language: str,
    source_language: str | None = None,
    *,
    sampling: Sampling | None = None,
) -> list[str]: ...


def translate(
    session: Session,
    texts: str | Sequence[str],
    target_language: str,
    source_language: str | None = None,
    *,
    sampling: Sampling | None = None,
) -> str | list[str]:
    """Languages by name or code. source_language: None lets an instruct model see for itself; T5 takes English.

    sampling: greedy by default; its max_tokens is for one part, None means three times the part.
    Raises InvalidValue for an unknown or unsupported language, listing the supported ones; UnsupportedFeature for a model that
    cannot write; ContextLengthExceeded when a translation did not end within max_tokens.
    """
    need_writer(session, "translate")
    target = language(target_language, param="target_language")
    source = language(source_language, param="source_language") if source_language is not None else None
    style = style_of(session, target, source)
    sampling = greedy(sampling)
    listed = [texts] if isinstance(texts, str) else list(texts)
    pieces = [cut(session, text, style) for text in listed]
    wanted = [part for parts in pieces for part in parts if part.strip()]
    written = iter(_written(session, wanted, style, sampling))
    found = [joined([(part, next(written) if part.strip() else part) for part in parts], target) for parts in pieces]
    return found[0] if isinstance(texts, str) else found


def _written(session: Session, parts: Sequence[str], style: Style, sampling: Sampling) -> list[str]:
    """The translations, each without white space around it. Raises ContextLengthExceeded for one that did not end."""
    questions = [asked(session, part, style, sampling) for part in parts]
    found = answers(session, questions)
    for part, completion, (_, one) in zip(parts, found, questions, strict=True):
        if completion.finish_reason == "length":
            raise ContextLengthExceeded(
                f"The translation of {part.strip()[:60]!r} did not end within {one.max_tokens} tokens.",
                param="max_tokens",
                hint="Allow more tokens, or use a model that knows both languages better: a weak one repeats itself.",
            )
    return [completion.text.strip() for completion in found]
