"""Texts of any length and the probability of each label, by `predict` of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmos.data.recipe import digest_of
from llmos.data.synth.base import ModelStep
from llmos.engine.asking import parts_of
from llmos.engine.scoring import predict
from llmos.types import Family

if TYPE_CHECKING:
    from llmos.data.synth.asked import Question
    from llmos.engine.session import Session

Labels = dict[str, str] | tuple[str, ...]
ANSWER_TOKENS = 64  # of a label, at most, with what a template puts around it


def classified(
    step: ModelStep, texts: Sequence[str], ids: Sequence[str], labels: Labels, template: str | None
) -> list[dict[str, float]]:
    """The probabilities of each text, {} for one without letters. ids: of the rows, for errors."""
    session = step.session()

    def read(session: Session, questions: Sequence[Question]) -> list[dict[str, Any]]:
        found = predict(session, [question["text"] for question in questions], labels, template=template)
        return [{"probabilities": one.probabilities} for one in found]

    around = " ".join([template or "", *(f"{one}: {labels[one]}" if isinstance(labels, dict) else one for one in labels)])
    cut = [_parts(session, text, around) for text in texts]
    how = "classify 1 " + digest_of([labels, template])
    questions = [{"text": part} for parts in cut for part in parts]
    answers = iter(step.read(how, questions, read, [name for name, parts in zip(ids, cut, strict=True) for _ in parts]))
    return [_mean([(len(part), next(answers)["probabilities"]) for part in parts]) for parts in cut]


def _parts(session: Session, text: str, around: str) -> list[str]:
    """A sentence encoder takes texts of any length as they are."""
    if not text.strip():
        return []
    if session.family is Family.ENCODER:
        return [text]
    return [part for part in parts_of(session, text, around, answer_tokens=ANSWER_TOKENS) if part.strip()]


def _mean(parts: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """By length."""
    total = sum(size for size, _ in parts)
    return {label: sum(size * one[label] for size, one in parts) / total for label in sorted(parts[0][1])} if parts else {}
