"""The contract of a way to classify, and what every way needs: the checked question, templates, probabilities."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmos.engine.session import Session
from llmos.errors import EngineError, InvalidValue
from llmos.registry import Registry
from llmos.text.base import Tokenizer
from llmos.types import TokenIds

CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021, "Calibrate Before Use", section 5
_FLOOR = -1e4  # stands for a log-probability of minus infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """labels as the caller named them; wordings[i] is what a model reads for labels[i]: its description, else the label.
    template: the caller's own sentence or instruction, or None."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    wordings: tuple[str, ...]
    multi_label: bool = False
    template: str | None = None

    def sentence(self, default: str, *needs: str) -> str:
        """The template in use. Raises InvalidValue when a place that this strategy fills is missing from the caller's."""
        template = self.template or default
        missing = [place for place in needs if place not in template]
        if missing:
            raise InvalidValue(
                f"The template has no {' and no '.join(missing)}: {template!r}.", param="template", hint=f"For example: {default!r}"
            )
        return template


class Strategy(ABC):
    """One way to classify. `rank`: those with a lower one are tried first."""

    name: ClassVar[str]
    rank: ClassVar[int]

    @abstractmethod
    def suits(self, session: Session, question: Question) -> tuple[bool, str]:
        """Whether this way can answer, and the reason, a whole sentence that a user reads."""

    @abstractmethod
    def probabilities(self, session: Session, question: Question) -> list[list[float]]:
        """[texts, labels]. Rows sum to 1; with multi_label each number stands for itself."""


strategies: Registry[Strategy] = Registry("classification strategy")


def softmax(scores: Sequence[float]) -> list[float]:
    """Raises EngineError when a score is not a number."""
    if any(math.isnan(score) for score in scores):
        raise EngineError(f"The engine gave scores that are not numbers: {list(scores)}.")
    finite = [max(score, _FLOOR) for score in scores]
    best = max(finite)
    weights = [math.exp(score - best) for score in finite]
    total = sum(weights)
    return [weight / total for weight in weights]


def sigmoid(score: float) -> float:
    if math.isnan(score):
        raise EngineError("The engine gave a score that is not a number.")
    return 1 / (1 + math.exp(-score)) if score > -700 else 0.0


def log(probability: float) -> float:
    return math.log(probability) if probability > 0 else _FLOOR


def tokens_after(tokenizer: Tokenizer, anchor: str, text: str) -> TokenIds:
    """The tokens that `text` has as the next word after `anchor`, whatever this vocabulary does with the space between."""
    before, whole = tokenizer.encode(anchor), tokenizer.encode(f"{anchor} {text}")
    if whole[: len(before)] == before and len(whole) > len(before):
        return whole[len(before) :]
    return tokenizer.encode(f" {text}")
