"""Orders documents by how well they answer a query: with a cross-encoder, a sentence encoder, or a language model's yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmos.engine.scoring import predict
from llmos.engine.scoring.base import sigmoid
from llmos.engine.session import Session
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.types import Family

RELEVANT = 'Document:\n{text}\n\nDoes the document answer the query "{label}"? Answer with yes or no only.'


@dataclass(frozen=True, slots=True)
class Ranked:
    """index: of the document in the list given. score: higher is more relevant; from 0 to 1, but for encoders the cosine."""

    index: int
    score: float


def rerank(session: Session, query: str, documents: Sequence[str], top_n: int | None = None) -> list[Ranked]:
    """The documents, best first; the first top_n where that is given. Equal scores keep the order of the list.

    A document longer than the context is, for a sentence encoder, the mean of its parts; for other models
    ContextLengthExceeded. Raises InvalidValue, and UnsupportedFeature for a model that cannot compare.
    """
    if not query.strip():
        raise InvalidValue("The query is empty.", param="query")
    if top_n is not None and top_n < 1:
        raise InvalidValue(f"top_n is {top_n}; it must be at least 1.", param="top_n")
    if not documents:
        return []
    scores = _scores(session, query, list(documents))
    ordered = sorted((Ranked(index, score) for index, score in enumerate(scores)), key=lambda ranked: -ranked.score)
    return ordered[:top_n]


def _scores(session: Session, query: str, documents: list[str]) -> list[float]:
    if session.family is Family.CLASSIFIER:
        logits = session.classify([(query, document) for document in documents])
        if logits.shape[1] != 1:
            raise UnsupportedFeature(
                f"{session.card.ref} has a head of {logits.shape[1]} labels; a reranker's has one number.",
                param="model",
                hint="Use a cross-encoder, a sentence encoder such as all-minilm-l6-v2, or a causal model.",
            )
        return [sigmoid(float(row[0])) for row in logits]
    if session.family is Family.ENCODER:
        return _cosines(session, query, documents)
    if session.family in (Family.CAUSAL, Family.SEQ2SEQ):
        found = predict(session, documents, [query], multi_label=True, template=RELEVANT)
        return [prediction.probabilities[query] for prediction in found]
    raise UnsupportedFeature(
        f"{session.card.ref} is a {session.family.value} model and cannot compare a query with documents.",
        param="model",
        hint="Use a cross-encoder, a sentence encoder such as all-minilm-l6-v2, or a causal model.",
    )


def _cosines(session: Session, query: str, documents: list[str]) -> list[float]:
    import numpy as np

    vectors = session.embed([query, *documents], long="mean")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return [float(value) for value in unit[1:] @ unit[0]]
