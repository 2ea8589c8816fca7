"""The door of the package: checks the question, chooses the way, puts the answer together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from llmos.engine.scoring.base import Question, Strategy, strategies
from llmos.engine.session import Session
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.types import Prediction

Labels = Sequence[str] | Mapping[str, str]


@overload
def predict(  # type: ignore[overload-overlap]  # a str is a Sequence[str] as well; the first overload wins
    session: Session,
    texts: str,
    labels: Labels,
    *,
    multi_label: bool = False,
    threshold: float = 0.5,
    template: str | None = None,
) -> Prediction: ...


@overload
def predict(
    session: Session,
    texts: Sequence[str],
    labels: Labels,
    *,
    multi_label: bool = False,
    threshold: float = 0.5,
    template: str | None = None,
) -> list[Prediction]: ...


def predict(
    session: Session,
    texts: str | Sequence[str],
    labels: Labels,
    *,
    multi_label: bool = False,
    threshold: float = 0.5,
    template: str | None = None,
) -> Prediction | list[Prediction]:
    """Which label fits each text, with a probability for every label.

    labels: names, or {name: description}; a description is what the model reads in place of the name. multi_label: labels do
    not exclude each other; `Prediction.labels` are then those at or over threshold. template: the sentence or instruction to
    use instead of the strategy's own, with {text} and {label} or {labels} in it (see the strategy's file).

    Raises InvalidValue for bad labels, threshold or template, ContextLengthExceeded for a text that does not fit, and
    UnsupportedFeature when the model cannot classify.
    """
    listed = (texts,) if isinstance(texts, str) else tuple(texts)
    question = _checked(listed, labels, multi_label=multi_label, threshold=threshold, template=template)
    strategy, why = choose(session, question)
    rows = strategy.probabilities(session, question) if listed else []
    found = [_prediction(question, row, threshold, strategy=strategy.name, why=why, model=session.card.ref) for row in rows]
    return found[0] if isinstance(texts, str) else found


def choose(session: Session, question: Question) -> tuple[Strategy, str]:
    """The first strategy that suits. Raises UnsupportedFeature with what each of them said."""
    refusals = []
    for _, strategy in sorted(strategies, key=lambda entry: entry[1].rank):
        ok, why = strategy.suits(session, question)
        if ok:
            return strategy, why
        refusals.append(f"{strategy.name}: {why}")
    raise UnsupportedFeature(
        f"{session.card.ref} ({session.family.value}) cannot tell which of these labels fits. {' '.join(refusals)}",
        param="labels" if session.card.labels else "model",
        hint=f"The labels that it knows: {', '.join(session.card.labels)}."
        if session.card.labels
        else "Use a causal, masked, seq2seq, encoder or classifier model.",
    )


def _checked(texts: tuple[str, ...], labels: Labels, *, multi_label: bool, threshold: float, template: str | None) -> Question:
    if isinstance(labels, str):
        raise InvalidValue(f"labels is the text {labels!r}; it must be a list of labels.", param="labels")
    names = tuple(labels)
    wordings = tuple((labels[name] or name) if isinstance(labels, Mapping) else name for name in names)
    for name, wording in zip(names, wordings, strict=True):
        if not isinstance(name, str) or not isinstance(wording, str) or not name.strip() or not wording.strip():
            raise InvalidValue(f"The label {name!r} is not a text with letters in it.", param="labels")
    for what, values in (("label", names), ("label description", wordings)):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InvalidValue(f"The {what} {twice!r} is there twice.", param="labels")
    if len(names) < (1 if multi_label else 2):
        raise InvalidValue(
            f"There are {len(names)} labels; one of several needs at least 2.", param="labels", hint="Or set multi_label=True."
        )
    if not 0 <= threshold <= 1:
        raise InvalidValue(f"threshold is {threshold}; it must be a number from 0 to 1.", param="threshold")
    wrong = next((place for place, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InvalidValue(f"Text {wrong} is a {type(texts[wrong]).__name__}; it must be a text.", param="text")
    return Question(texts=texts, labels=names, wordings=wordings, multi_label=multi_label, template=template)


def _prediction(question: Question, row: Sequence[float], threshold: float, *, strategy: str, why: str, model: str) -> Prediction:
    ordered = sorted(zip(question.labels, row, strict=True), key=lambda entry: -entry[1])
    chosen = tuple(label for label, probability in ordered if probability >= threshold) if question.multi_label else ()
    return Prediction(label=ordered[0][0], probabilities=dict(ordered), strategy=strategy, why=why, model=model, labels=chosen)
