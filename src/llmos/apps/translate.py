"""Translation with whatever model is there: T5 by its prefix, Marian by its direction, instruct models by asking.

Long texts are cut at lines, sentences and words, translated part by part (many at once) and joined with the white space that
was between the parts. Nothing is cut off: a part whose translation does not end is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

from llmos.apps.base import PART_TOKENS, answers, greedy, need_writer, parts_of, with_room
from llmos.engine.session import Session
from llmos.errors import ContextLengthExceeded, InvalidValue, UnsupportedFeature
from llmos.text.languages import Language, language
from llmos.types import Family, Sampling

_T5 = ("en", "de", "fr", "ro")  # what T5 was trained to translate, from English (Raffel et al. 2020, appendix D)
_NO_SPACES = ("zh", "zh-hant", "ja", "th", "lo", "km", "my")
_DIRECTION = re.compile(r"opus-mt-(?:tc-big-)?([a-zA-Z]{2,3})-([a-zA-Z]{2,3})(?![a-zA-Z])")
ANSWER_SHARE = 3.0  # tokens of a translation for one of the text, at most: English to a language the vocabulary hardly knows


@dataclass(frozen=True, slots=True)
class Style:
    """How this model is asked. prompt: with {text} in it. stop: what ends an answer beside its own end."""

    prompt: str
    by_line: bool = False
    stop: tuple[str, ...] = ()


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
    cut = [_cut(session, text, style) for text in listed]
    wanted = [part for parts in cut for part in parts if part.strip()]
    written = iter(_written(session, wanted, style, sampling))
    found = [_joined([(part, next(written) if part.strip() else part) for part in parts], target) for parts in cut]
    return found[0] if isinstance(texts, str) else found


def style_of(session: Session, target: Language, source: Language | None) -> Style:
    """How to ask this model for this pair. Raises InvalidValue when it does not know one of the two."""
    if source == target:
        raise InvalidValue(f"Source and target language are both {target.name}.", param="source_language")
    if session.family is Family.SEQ2SEQ:
        return _seq2seq(session, target, source)
    _check(target, session.base.languages, "target_language", session)
    if source is not None:
        _check(source, session.base.languages, "source_language", session)
    pair = f"from {source.name} to {target.name}" if source else f"to {target.name}"
    if session.template is not None or session.family is Family.REMOTE:
        return Style(f"Translate the following text {pair}. Reply with the translation only.\n\n{{text}}")
    return Style(f"{source.name if source else 'Text'}: {{text}}\n{target.name}:", by_line=True, stop=("\n",))


def _seq2seq(session: Session, target: Language, source: Language | None) -> Style:
    architecture = session.base.architecture.casefold()
    if "marian" in architecture:
        return _marian(session, target, source)
    if "t5" in architecture:
        return _t5(session, target, source)
    raise UnsupportedFeature(
        f"LLMOS does not know how {session.card.ref} ({architecture}) is asked to translate.",
        param="model",
        hint="Use a T5 or Marian model, or an instruct model.",
    )


def _t5(session: Session, target: Language, source: Language | None) -> Style:
    """The prefix that T5 was trained with. Models with languages of their own (mT5, Flan) say so on their card."""
    known = session.base.languages or _T5
    original = set(known) == set(_T5)
    source = source or language("en")
    _check(target, _T5[1:] if original else known, "target_language", session)
    _check(source, _T5[:1] if original else known, "source_language", session)
    if source == target:
        raise InvalidValue(f"Source and target language are both {target.name}; name the source.", param="source_language")
    return Style(f"translate {source.name} to {target.name}: {{text}}", by_line=True)


def _marian(session: Session, target: Language, source: Language | None) -> Style:
    """One direction, which its name says; or several targets, each with a token of its own (>>fra<<)."""
    tokenizer = session.tokenizer
    for code in (target.three, target.code):
        if tokenizer is not None and tokenizer.token_to_id(f">>{code}<<") is not None:
            return Style(f">>{code}<< {{text}}", by_line=True)
    direction = _DIRECTION.search(session.base.source) or _DIRECTION.search(session.base.name)
    if direction is None:
        _check(target, session.base.languages, "target_language", session)
        return Style("{text}", by_line=True)
    _check(target, (direction[2].lower(),), "target_language", session)
    if source is not None:
        _check(source, (direction[1].lower(),), "source_language", session)
    return Style("{text}", by_line=True)


def _check(wanted: Language, known: Sequence[str], param: str, session: Session) -> None:
    """() means that nobody has said what the model knows; then it may try."""
    codes = {wanted.code, wanted.code.partition("-")[0], wanted.three}
    if not known or codes & {code.casefold() for code in known}:
        return
    named = sorted({f"{language(code).name} ({code})" if _is_known(code) else code for code in known})
    kind = param.replace("_", " ")
    raise InvalidValue(
        f"{session.card.ref} does not support {wanted.name} ({wanted.code}) as {kind}.",
        param=param,
        hint=f"Supported: {', '.join(named)}.",
    )


def _is_known(code: str) -> bool:
    try:
        language(code)
    except InvalidValue:
        return False
    return True


def _cut(session: Session, text: str, style: Style) -> list[str]:
    """Parts that fit; line by line for models that read and write single lines."""
    lines = text.splitlines(keepends=True) if style.by_line else [text]
    return [part for line in lines for part in parts_of(session, line, style.prompt, answer_share=ANSWER_SHARE, most=PART_TOKENS)]


def _written(session: Session, parts: Sequence[str], style: Style, sampling: Sampling) -> list[str]:
    """The translations, each without white space around it. Raises ContextLengthExceeded for one that did not end."""
    stops = (*sampling.stop, *style.stop)
    room = [replace(with_room(session, sampling, part, answer_share=ANSWER_SHARE), stop=stops) for part in parts]
    prompts = [style.prompt.replace("{text}", part.strip()) for part in parts]
    found = answers(session, zip(prompts, room, strict=True))
    for part, completion, one in zip(parts, found, room, strict=True):
        if completion.finish_reason == "length":
            raise ContextLengthExceeded(
                f"The translation of {part.strip()[:60]!r} did not end within {one.max_tokens} tokens.",
                param="max_tokens",
                hint="Allow more tokens, or use a model that knows both languages better: a weak one repeats itself.",
            )
    return [completion.text.strip() for completion in found]


def _joined(pairs: Sequence[tuple[str, str]], target: Language) -> str:
    """The translations with the white space of the text between them; between sentences as the target language has it."""
    out = []
    for place, (part, written) in enumerate(pairs):
        core = part.strip()
        if not core:
            out.append(part)
            continue
        before, after = part[: part.index(core)], part[part.index(core) + len(core) :]
        if place + 1 < len(pairs) and "\n" not in after and after in ("", " "):
            after = "" if target.code in _NO_SPACES else " "
        out.append(before + written + after)
    return "".join(out)
