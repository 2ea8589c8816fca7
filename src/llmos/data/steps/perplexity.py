"""Perplexity of a text under a model of the library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmos.data.base import ID, Filter, Rows, Rule, Values, step
from llmos.data.synth.base import ModelConfig, ModelStep
from llmos.engine.base import ScoreItem

if TYPE_CHECKING:
    from llmos.data.synth.asked import Question
    from llmos.engine.session import Session


@step("perplexity")
class Perplexity(ModelStep, Filter):
    """Keeps texts whose perplexity exp(-1/N sum log p(x_i | x_<i)) is in [at_least, at_most], in nats over the model's own tokens
    (Jelinek et al. 1977; as a filter of web text: Wenzek et al. 2020, CCNet, who cut at percentiles of each language). A long
    text is read in windows; each token is scored once, with half a window before it. Where the model has no start token the first token
    is only read. A text of no scored tokens has none and is kept."""

    class Config(ModelConfig):
        at_least: float | None = Field(None, ge=1, description="Lower ones are dropped: boilerplate, repetition.")
        at_most: float | None = Field(None, ge=1, description="Higher ones are dropped: no language, or none that the model knows.")
        window: int = Field(1024, ge=16, description="Tokens read at once; the model's context when that is shorter.")

    apart: ClassVar[bool] = True
    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        import numpy as np

        questions = [{"text": text, "window": self.config.window} for text in rows.text(self.column).to_list()]
        found = self.read("score 1", questions, score, rows.frame.get_column(ID).to_list())
        return {"perplexity": np.array([_perplexity(one["logprob"], one["tokens"]) for one in found])}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="perplexity", at_least=self.config.at_least, at_most=self.config.at_most),)


def _perplexity(logprob: float, tokens: int) -> float:
    if not tokens:
        return math.nan
    return math.exp(-logprob / tokens) if -logprob / tokens < 700 else math.inf


def score(session: Session, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Log-probability (nats) and number of the scored tokens of each text."""
    cut = [_items(session, question["text"], question["window"]) for question in questions]
    results = iter(session.score([item for items in cut for item in items]))
    found = []
    for items in cut:
        scored = [token.logprob for _ in items for token in next(results).continuations[0]]
        found.append({"logprob": math.fsum(scored), "tokens": len(scored)})
    return found


def _items(session: Session, text: str, window: int) -> list[ScoreItem]:
    opening = session.encode("", add_special=True)[:1]
    ids = (*opening, *session.encode(text))
    size = min(window, session.context_length or window)
    if len(ids) <= size:
        return [ScoreItem(prompt=ids[:1], continuations=(ids[1:],))] if len(ids) > 1 else []
    bounds = [1, *range(size, len(ids), size - size // 2), len(ids)]
    return [ScoreItem(prompt=ids[max(0, end - size) : start], continuations=(ids[start:end],)) for start, end in pairwise(bounds)]
