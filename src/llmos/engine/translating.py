"""How each kind of model is asked to translate: T5 by its prefix, Marian by its direction, instruct models by asking.

A text is cut at lines, sentences and words into parts that a model reads well; their translations are joined with the white space
that was between the parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmos.engine.asking import PART_TOKENS, parts_of, with_room
from llmos.engine.session import Session
from llmos.errors import InvalidValue, UnsupportedFeature
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


def cut(session: Session, text: str, style: Style) -> list[str]:
    """Parts that fit; line by line for models that read and write single lines."""
    lines = text.splitlines(keepends=True) if style.by_line else [text]
    return [part for line in lines for part in parts_of(session, line, style.prompt, answer_share=ANSWER_SHARE, most=PART_TOKENS)]


def asked(session: Session, part: str, style: Style, sampling: Sampling) -> tuple[str, Sampling]:
    """The prompt for one part, and the sampling with room for its translation."""
    room = with_room(session, sampling, part, answer_share=ANSWER_SHARE)
    return style.prompt.replace("{text}", part.strip()), replace(room, stop=(*sampling.stop, *style.stop))


def joined(pairs: Sequence[tuple[str, str]], target: Language) -> str:
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
