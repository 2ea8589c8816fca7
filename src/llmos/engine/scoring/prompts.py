"""What a language model is asked when it classifies: the instruction, cut in token ids around the place of the text.

The text is encoded on its own between the two parts. So the parts are the same ids for every text and can be shared, a chat
template is rendered once, and control tokens in a text stay text. Those in a label or a caller's own instruction do too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmos.engine.scoring.base import Question, tokens_after
from llmos.engine.session import Session
from llmos.errors import ModelFileError
from llmos.text.shield import Shield
from llmos.types import Family, Message, TokenIds

CHOICE = "Choose the label that fits the text best.\n\nLabels:\n{labels}\n\nText:\n{text}\n\nAnswer with the label only."
YES_NO = 'Text:\n{text}\n\nDoes the label "{label}" fit the text? Answer with yes or no only.'
_PLACE = "\u2402"  # stands for the text while the template is rendered; a sign that no template writes
_ANSWER = "\u2403"


@dataclass(frozen=True, slots=True)
class Prompt:
    """before + ids of the text + after is the prompt; answers are whole answers with the token that ends them."""

    before: TokenIds
    after: TokenIds
    answers: tuple[TokenIds, ...]


def choice_prompt(session: Session, question: Question) -> Prompt:
    """Which of the labels? Its answers are the labels, in order; descriptions stand beside them in the list."""
    lines = [
        f"- {label}" if label == wording else f"- {label}: {wording}"
        for label, wording in zip(question.labels, question.wordings, strict=True)
    ]
    instruction = question.sentence(CHOICE, "{text}")
    return _prompt(session, instruction, ("{labels}", "\n".join(lines)), question.labels, lead="Label:")


def yes_no_prompt(session: Session, question: Question, wording: str) -> Prompt:
    """Does this label fit? Its answers are yes and no."""
    instruction = question.sentence(YES_NO, "{text}", "{label}")
    return _prompt(session, instruction, ("{label}", wording), ("yes", "no"), lead="Answer:")


def _prompt(session: Session, instruction: str, fill: tuple[str, str], answers: Sequence[str], *, lead: str) -> Prompt:
    """fill: a place in the instruction and what stands there. lead: what opens the answer where no chat template does."""
    opening_text, _, closing_text = instruction.partition("{text}")
    before, after = opening_text.replace(*fill), closing_text.replace(*fill)
    if session.template is not None and session.family is Family.CAUSAL:
        return _chat(session, before, after, answers)
    tokenizer = session.tokenizer
    assert tokenizer is not None
    around = tokenizer.encode("", add_special=True)
    ends = tokenizer.special.eos[:1]
    asks = tokenizer.encode(f"{after}\n\n{lead}")
    if session.family is Family.SEQ2SEQ:
        found = tuple((*tokenizer.encode(answer), *ends) for answer in answers)
        return Prompt((*around[:-1], *tokenizer.encode(before)), (*asks, *around[-1:]), found)
    newline = tokenizer.encode("\n")
    found = tuple((*tokens_after(tokenizer, lead, answer), *newline) for answer in answers)
    return Prompt((*around, *tokenizer.encode(before)), asks, found)


def _chat(session: Session, before: str, after: str, answers: Sequence[str]) -> Prompt:
    tokenizer, template = session.tokenizer, session.template
    assert tokenizer is not None and template is not None
    shield = Shield(tokenizer)
    asked = shield.messages([Message(role="user", content=before + _PLACE + after)])
    extra = {"enable_thinking": False}  # the answer is the label, without a thought before it
    rendered = template.render(asked, extra=extra)
    if rendered.count(_PLACE) != 1:
        raise ModelFileError(f"The chat template of {session.card.ref} does not show the user's text once, as it is.")
    opening, closing = rendered.split(_PLACE)
    answered = template.render([*asked, Message(role="assistant", content=_ANSWER)], add_generation_prompt=False, extra=extra)
    ends = tokenizer.encode(answered.partition(_ANSWER)[2], parse_special=True)
    end = ends[:1] if ends[:1] and ends[0] in tokenizer.special.eos else tokenizer.special.eos[:1]
    return Prompt(
        shield.encode(opening),
        shield.encode(closing),
        tuple((*tokenizer.encode(answer), *end) for answer in answers),
    )
