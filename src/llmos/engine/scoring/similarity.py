"""A sentence encoder compares the text with each label: the nearer in direction, the likelier."""

from __future__ import annotations

from llmos.engine.scoring.base import Question, Strategy, sigmoid, softmax, strategies
from llmos.engine.session import Session
from llmos.types import Family

# Of the templates tried, the one that serves both sentiment and topics; benchmarks/bench_predict.py measures what it gives.
SENTENCE = "This text is about {label}."
WORD = "{label}"  # with multi_label: a sentence around it hides how far a word is from one that says nothing
# Cosines are trained against each other at this scale: MultipleNegativesRankingLoss of sentence-transformers, `scale`.
SCALE = 20.0
NEUTRAL = ("something", "anything", "text", "general", "other")


@strategies.register("similarity")
class Similarity(Strategy):
    """Softmax over SCALE times the cosines. multi_label: each label against the nearest of a few words that say nothing. The
    template is what stands for a label, with {label} in it."""

    name = "similarity"
    rank = 40

    def suits(self, session: Session, question: Question) -> tuple[bool, str]:
        if session.family is not Family.ENCODER:
            return False, "The model makes no sentence vectors."
        return True, "The model is a sentence encoder: a label is as likely as its meaning is near that of the text."

    def probabilities(self, session: Session, question: Question) -> list[list[float]]:
        import numpy as np

        sentence = question.sentence(WORD if question.multi_label else SENTENCE, "{label}")
        words = [*question.wordings, *NEUTRAL]
        vectors = session.embed([*question.texts, *(sentence.replace("{label}", word) for word in words)], long="mean")
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosines = unit[: len(question.texts)] @ unit[len(question.texts) :].T  # [texts, labels + neutral words]
        rows = []
        for values in (cosines * SCALE).tolist():
            row, neutral = values[: len(question.labels)], max(values[len(question.labels) :])
            rows.append([sigmoid(value - neutral) for value in row] if question.multi_label else softmax(row))
        return rows
