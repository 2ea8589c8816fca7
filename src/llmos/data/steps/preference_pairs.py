"""A better and a worse answer to each prompt, by models of the library: rows for preference training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field

from llmos.data.base import ID, Expanded, Expander, Rows, step
from llmos.data.synth.answerers import question
from llmos.data.synth.base import ModelStep, WritingConfig
from llmos.data.synth.making import Making
from llmos.data.synth.overlap import likeness
from llmos.engine.base import ScoreItem
from llmos.engine.scoring import predict
from llmos.types import Message

if TYPE_CHECKING:
    from llmos.data.synth.asked import Question
    from llmos.engine.session import Session

JUDGE = (
    "Two answers to a request follow. Choose the better one: correct, complete, to the point.\n\nLabels:\n{labels}\n\n{text}\n\n"
    "Answer with the label only."
)


@step("preference_pairs")
class PreferencePairs(ModelStep, Expander):
    """Makes of each prompt a row with prompt, chosen and rejected. Two answers are written, by two models or at two temperatures. The
    judge takes the better: `prompt` shows both to the judge in both orders, for judges prefer a place (Zheng et al. 2023, "Judging
    LLM-as-a-Judge", section 3.4), and takes the mean of its probabilities; `likelihood` takes the answer whose tokens are likelier to
    the judge, their mean log-probability mapped by a logistic function of the difference. Pairs with a margin |2p - 1| below `min_margin`
    are refused, and answers that are nearly the same."""

    class Config(WritingConfig):
        temperature: float = Field(0.0, ge=0, le=2, description="Of the first answer.")
        other_model: str = Field("", description='Writes the second answer; "" is `model`.')
        other_temperature: float = Field(1.0, ge=0, le=2, description="Of the second answer.")
        judge: Literal["prompt", "likelihood"] = "prompt"
        judge_model: str = Field("", description='Says which is better; "" is `model`.')
        min_margin: float = Field(0.0, ge=0, le=1, description="How sure the judge must be: 0 is a coin's toss, 1 is certain.")
        max_likeness: float = Field(0.9, ge=0, le=1, description="Answers that share more character trigrams are no choice.")

    models = ("model", "other_model", "judge_model")
    config: Config
    reason = "no pair"

    def expand(self, rows: Rows) -> Expanded:
        config, texts = self.config, rows.text(self.column).to_list()
        ids = rows.frame.get_column(ID).to_list()
        asked = [row for row, text in enumerate(texts) if text.strip()]
        first = self.write([question(texts[row], self.sampling(ids[row])) for row in asked])
        warm = config.other_temperature
        second = self.write(
            [question(texts[row], self.sampling(ids[row], 1, temperature=warm)) for row in asked], config.other_model
        )
        refs = dict.fromkeys([self.ref(), self.ref(config.other_model), self.ref(config.judge_model)])
        columns = {"prompt": pl.String, "chosen": pl.String, "rejected": pl.String, "margin": pl.Float64}
        making = Making(rows=rows, step=self.name, model="+".join(refs), columns=columns, originals=False)
        pairs = []
        for row, one, other in zip(asked, first, second, strict=True):
            left, right = (answer.body.get("text", "").strip() for answer in (one, other))
            near = likeness(left, right)
            if not left or not right:
                making.refuse(row, "answer", one.refused or other.refused or "An answer is empty.")
            elif near > config.max_likeness:
                making.refuse(row, "likeness", "The two answers are nearly the same.", value=near, threshold=config.max_likeness)
            else:
                pairs.append((row, left, right))
        better = self._judged([(texts[row], left, right) for row, left, right in pairs], [ids[row] for row, _, _ in pairs])
        for (row, left, right), p in zip(pairs, better, strict=True):
            margin = abs(2 * p - 1)
            if margin < config.min_margin:
                making.refuse(row, "margin", "The judge is not sure.", value=margin, threshold=config.min_margin)
            else:
                chosen, rejected = (left, right) if p >= 0.5 else (right, left)
                making.add(row, {"prompt": texts[row], "chosen": chosen, "rejected": rejected, "margin": margin})
        return making.finish()

    def _judged(self, pairs: Sequence[tuple[str, str, str]], ids: Sequence[str]) -> list[float]:
        """Probability that the first answer is the better one."""
        if self.config.judge == "likelihood":
            asked = [{"prompt": prompt, "answer": answer} for prompt, *answers in pairs for answer in answers]
            mean = [one["mean"] for one in self.read("likelihood 1", asked, _likelihood, _twice(ids), self.config.judge_model)]
            return [1 / (1 + math.exp(min(right - left, 700.0))) for left, right in zip(mean[::2], mean[1::2], strict=True)]
        shown = [{"text": _shown(prompt, *order)} for prompt, left, right in pairs for order in ((left, right), (right, left))]
        first = [one["first"] for one in self.read("judge 1", shown, _judge, _twice(ids), self.config.judge_model)]
        return [(left + 1 - right) / 2 for left, right in zip(first[::2], first[1::2], strict=True)]


def _twice(ids: Sequence[str]) -> list[str]:
    return [one for one in ids for _ in range(2)]


def _shown(prompt: str, first: str, second: str) -> str:
    return f"Request:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}"


def _judge(session: Session, questions: Sequence[Question]) -> list[dict[str, Any]]:
    found = predict(session, [one["text"] for one in questions], ["A", "B"], template=JUDGE)
    return [{"first": one.probabilities["A"]} for one in found]


def _likelihood(session: Session, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Mean log-probability of the tokens of each answer after its prompt."""
    items = []
    for one in questions:
        prompt = (
            session.chat_ids([Message(role="user", content=one["prompt"])])
            if session.template
            else session.encode(one["prompt"] + "\n", add_special=True)
        )
        items.append(ScoreItem(prompt=prompt, continuations=(session.encode(one["answer"]),)))
    scored = [[token.logprob for token in result.continuations[0]] for result in session.score(items)]
    return [{"mean": math.fsum(one) / max(len(one), 1)} for one in scored]
