"""A classification head that was trained on the very labels asked for: nothing knows better."""

from __future__ import annotations

from llmos.engine.scoring.base import Question, Strategy, sigmoid, softmax, strategies
from llmos.engine.session import Session
from llmos.types import Family


def _columns(session: Session, question: Question) -> list[int | None]:
    known = {label.casefold(): place for place, label in enumerate(session.card.labels)}
    return [known.get(label.casefold()) for label in question.labels]


@strategies.register("head")
class Head(Strategy):
    """Softmax over the columns of the labels asked for; with multi_label the sigmoid of each."""

    name = "head"
    rank = 10

    def suits(self, session: Session, question: Question) -> tuple[bool, str]:
        if session.family is not Family.CLASSIFIER:
            return False, "The model has no classification head."
        unknown = [label for label, place in zip(question.labels, _columns(session, question), strict=True) if place is None]
        if unknown:
            return False, f"Its head does not know {', '.join(map(repr, unknown))}."
        unread = " The head reads neither descriptions nor a template." if _has_words(question) else ""
        return True, f"The model has a classification head trained on these labels.{unread}"

    def probabilities(self, session: Session, question: Question) -> list[list[float]]:
        columns = [place for place in _columns(session, question) if place is not None]
        logits = [[float(row[place]) for place in columns] for row in session.classify(question.texts)]
        return [[sigmoid(value) for value in row] if question.multi_label else softmax(row) for row in logits]


def _has_words(question: Question) -> bool:
    return question.template is not None or question.wordings != question.labels
