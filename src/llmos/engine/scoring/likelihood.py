"""A causal or sequence-to-sequence model reads the text and the labels; how likely is each label as its whole answer?

    [instruction, labels] [text] [answer starts here]  ->  log P(label, end of answer)  for every label
     once a batch          once a text                      in one pass, all labels together

The end of the answer is part of it, so labels of different length, or one that starts like another, compare fairly. What the
model answers to a text that says nothing is divided out (contextual calibration, Zhao et al. 2021).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from llmos.engine.base import ScoreItem
from llmos.engine.scoring.base import CONTENT_FREE, Question, Strategy, log, sigmoid, softmax, strategies
from llmos.engine.scoring.prompts import Prompt, choice_prompt, yes_no_prompt
from llmos.engine.session import Session
from llmos.types import Family, TokenIds

MAX_PRIORS = 256


@strategies.register("likelihood")
class Likelihood(Strategy):
    """One label of several: which label is the answer. multi_label: yes or no, for each label on its own. The template is an
    instruction with {text} in it, and {labels} (one of several) or {label} (multi_label) where they shall stand."""

    name = "likelihood"
    rank = 50

    def __init__(self) -> None:
        self._priors: OrderedDict[object, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def suits(self, session: Session, question: Question) -> tuple[bool, str]:
        if session.family not in (Family.CAUSAL, Family.SEQ2SEQ):
            return False, "The model does not score texts."
        kind = "yes or no to it" if question.multi_label else "it"
        return True, f"The model is a {session.family.value} language model: a label is as likely as {kind} is its answer."

    def probabilities(self, session: Session, question: Question) -> list[list[float]]:
        if question.multi_label:
            prompts = [yes_no_prompt(session, question, wording) for wording in question.wordings]
            return self._yes_or_no(session, prompts, question.texts)
        prompt = choice_prompt(session, question)
        prior = self._prior(session, prompt)
        shares = [softmax(row) for row in _scores(session, [(prompt, text) for text in question.texts])]
        return [softmax([log(p) - free for p, free in zip(row, prior, strict=True)]) for row in shares]

    def _yes_or_no(self, session: Session, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[list[float]]:
        """The text stands first and is shared by the questions about it: one call a text."""
        priors = [self._prior(session, prompt) for prompt in prompts]
        rows = []
        for text in texts:
            found = _scores(session, [(prompt, text) for prompt in prompts])
            rows.append([sigmoid((yes - no) - (prior[0] - prior[1])) for (yes, no), prior in zip(found, priors, strict=True)])
        return rows

    def _prior(self, session: Session, prompt: Prompt) -> list[float]:
        """Log of the mean share of each answer over texts that say nothing; kept, for it is the same for every text."""
        key = (session.card.version, prompt)
        with self._lock:
            if key in self._priors:
                self._priors.move_to_end(key)
                return self._priors[key]
        shares = [softmax(row) for row in _scores(session, [(prompt, text) for text in CONTENT_FREE])]
        prior = [log(sum(column) / len(column)) for column in zip(*shares, strict=True)]
        with self._lock:
            self._priors[key] = prior
            while len(self._priors) > MAX_PRIORS:
                self._priors.popitem(last=False)
        return prior


def _scores(session: Session, asked: Sequence[tuple[Prompt, str]]) -> list[list[float]]:
    """[asked, answers] log-probabilities of the answers."""
    items = [ScoreItem(prompt=_ids(session, prompt, text), continuations=prompt.answers) for prompt, text in asked]
    return [[sum(token.logprob for token in tokens) for tokens in result.continuations] for result in session.score(items)]


def _ids(session: Session, prompt: Prompt, text: str) -> TokenIds:
    return (*prompt.before, *session.encode(text), *prompt.after)
