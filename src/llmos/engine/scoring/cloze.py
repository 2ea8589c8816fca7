"""A masked model fills the label into a sentence after the text (PET, Schick and Schütze 2021).

A label of k tokens gets k masks; its score is the mean log-probability at them, less that of the same sentence without the
text: what the text makes likelier counts, not what is a common word (domain-conditional PMI, Holtzman et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from llmos.engine.scoring.base import Question, Strategy, sigmoid, softmax, strategies, tokens_after
from llmos.engine.session import Session
from llmos.errors import InvalidValue
from llmos.text.base import Tokenizer
from llmos.types import Family, TokenIds

SENTENCE = "{text} It was {label}."


@strategies.register("cloze")
class Cloze(Strategy):
    """The template is a sentence with {label} in it; where it has no {text}, the text comes before it."""

    name = "cloze"
    rank = 30

    def suits(self, session: Session, question: Question) -> tuple[bool, str]:
        if session.family is not Family.MASKED:
            return False, "The model does not fill masks."
        return True, "The model is a masked language model: a label is as likely as the text makes it in a sentence about it."

    def probabilities(self, session: Session, question: Question) -> list[list[float]]:
        tokenizer = session.tokenizer
        assert tokenizer is not None
        sentence = question.sentence(SENTENCE, "{label}")
        blank = _Blank(tokenizer, sentence if "{text}" in sentence else "{text} " + sentence)
        labels = [_label_ids(tokenizer, blank.anchor, wording) for wording in question.wordings]
        sizes = sorted({len(ids) for ids in labels})
        candidates = sorted({token for ids in labels for token in ids})
        column = {token: place for place, token in enumerate(candidates)}
        texts = [*question.texts, ""]
        found = iter(session.fill_mask([blank.ids(text, size) for text in texts for size in sizes], candidates))
        scores: list[list[float]] = []
        for _ in texts:
            at = {size: next(found) for size in sizes}
            scores.append([sum(float(at[len(ids)][i, column[token]]) for i, token in enumerate(ids)) / len(ids) for ids in labels])
        *rows, free = scores
        gains = [[value - prior for value, prior in zip(row, free, strict=True)] for row in rows]
        return [[sigmoid(gain) for gain in row] if question.multi_label else softmax(row) for row in gains]


@dataclass(frozen=True, slots=True)
class _Blank:
    """A sentence with a place for the text and one for the label."""

    tokenizer: Tokenizer
    sentence: str

    @property
    def anchor(self) -> str:
        """The word before the label, by which its tokens are found."""
        words = self.sentence.partition("{label}")[0].replace("{text}", "").split()
        return words[-1] if words else ""

    def ids(self, text: str, num_masks: int) -> TokenIds:
        """Control tokens in the text stay text; only our own masks are masks."""
        opening, closing = self.sentence.replace("{text}", "\0").split("{label}", 1)
        before, after = opening.replace("\0", text).strip(), closing.replace("\0", text).rstrip()
        mask = self.tokenizer.special.mask
        if mask is None:
            raise InvalidValue("The model's tokenizer has no mask token.", param="model")
        around = self.tokenizer.encode("", add_special=True)
        middle = (*self.tokenizer.encode(before), *(mask,) * num_masks, *self.tokenizer.encode(after))
        return (*around[:-1], *middle, *around[-1:])


def _label_ids(tokenizer: Tokenizer, anchor: str, wording: str) -> TokenIds:
    ids = tokens_after(tokenizer, anchor, wording) if anchor else tokenizer.encode(wording)
    if not ids or tokenizer.special.unk in ids:
        raise InvalidValue(
            f"The vocabulary of the model cannot write the label {wording!r}.", param="labels", hint="Use another word."
        )
    return ids
