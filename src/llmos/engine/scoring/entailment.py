"""Zero-shot classification by natural-language inference: the label whose sentence the text entails (Yin et al. 2019)."""

from __future__ import annotations

from llmos.engine.scoring.base import Question, Strategy, softmax, strategies
from llmos.engine.session import Session
from llmos.types import Family

HYPOTHESIS = "This example is {label}."  # the one that the Hugging Face pipeline uses, and so the field's figures


def _column(session: Session, start: str) -> int | None:
    return next((place for place, label in enumerate(session.card.labels) if label.casefold().startswith(start)), None)


@strategies.register("entailment")
class Entailment(Strategy):
    """One label of several: softmax over the entailment logits of all. multi_label: entailment against contradiction for each.
    The template is the hypothesis, with {label} in it."""

    name = "entailment"
    rank = 20

    def suits(self, session: Session, question: Question) -> tuple[bool, str]:
        if session.family is not Family.CLASSIFIER:
            return False, "The model has no classification head."
        if _column(session, "entail") is None:
            return False, "Its head was not trained on entailment."
        if question.multi_label and (_column(session, "contradict") is None and len(session.card.labels) != 2):
            return False, "Its head has no label for contradiction, which multi_label needs."
        return True, "The model has an entailment head: a label is as likely as its sentence follows from the text."

    def probabilities(self, session: Session, question: Question) -> list[list[float]]:
        hypothesis = question.sentence(HYPOTHESIS, "{label}")
        sentences = [hypothesis.replace("{label}", wording) for wording in question.wordings]
        logits = session.classify([(text, sentence) for text in question.texts for sentence in sentences])
        yes = _column(session, "entail")
        no = _column(session, "contradict")
        assert yes is not None
        against = no if no is not None else 1 - yes
        rows = []
        for start in range(0, len(logits), len(sentences)):
            part = logits[start : start + len(sentences)]
            if question.multi_label:
                rows.append([softmax([float(row[yes]), float(row[against])])[0] for row in part])
            else:
                rows.append(softmax([float(row[yes]) for row in part]))
        return rows
