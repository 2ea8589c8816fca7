"""Texts of any length in another language or in short, asked part by part, all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmos.data.synth.answerers import question
from llmos.data.synth.asked import Answer
from llmos.data.synth.base import ModelStep
from llmos.engine.asking import count_tokens, need_writer, parts_of
from llmos.engine.generation import Completion
from llmos.engine.summarising import summary_prompt, summary_sampling, whole_sentences
from llmos.engine.translating import asked, cut, joined, style_of
from llmos.errors import ContextLengthExceeded
from llmos.text.languages import language
from llmos.types import Sampling


def translated(
    step: ModelStep, texts: Sequence[str], samplings: Sequence[Sampling], target: str, *, source: str | None, model: str = ""
) -> list[Answer]:
    """ "text" of each, or why there is none. samplings: one a text; max_tokens None is three times a part. Raises InvalidValue for a
    language that is unknown or that the model does not know."""
    session = step.session(model)
    need_writer(session, step.name)
    into = language(target, param="target_language")
    style = style_of(session, into, language(source, param="source_language") if source else None)
    pieces = [cut(session, text, style) for text in texts]
    wanted = [(part, sampling) for parts, sampling in zip(pieces, samplings, strict=True) for part in parts if part.strip()]
    questions = [question(*asked(session, part, style, sampling)) for part, sampling in wanted]
    answers = iter(step.write(questions, model))
    found = []
    for parts in pieces:
        pairs = [(part, next(answers) if part.strip() else Answer(body={"text": part})) for part in parts]
        refused = next((answer.refused for _, answer in pairs if answer.refused), "")
        text = "" if refused else joined([(part, answer.body["text"].strip()) for part, answer in pairs], into)
        found.append(Answer(body={} if refused else {"text": text}, refused=refused))
    return found


def summarised(step: ModelStep, texts: Sequence[str], samplings: Sequence[Sampling]) -> list[Answer]:
    """ "text" of each, or why there is none; what does not fit is summarised in parts, and these once more."""
    session = step.session()
    need_writer(session, step.name)
    drawn = [summary_sampling(session, one) for one in samplings]
    found: dict[int, Answer] = {place: Answer(body={"text": ""}) for place, text in enumerate(texts) if not text.strip()}
    open_ = {place: text for place, text in enumerate(texts) if place not in found}
    while open_:
        parts = [
            (place, part.strip())
            for place, text in open_.items()
            for part in parts_of(session, text, summary_prompt(session, drawn[place]), answer_tokens=drawn[place].max_tokens or 0)
            if part.strip()
        ]
        prompts = [summary_prompt(session, drawn[place]).replace("{text}", part) for place, part in parts]
        questions = [question(prompt, drawn[place]) for prompt, (place, _) in zip(prompts, parts, strict=True)]
        written: dict[int, list[Answer]] = {}
        for (place, _), answer in zip(parts, step.ask(questions, session), strict=True):
            written.setdefault(place, []).append(_ended(answer, drawn[place]))
        for place, answers in written.items():
            refused = next((answer.refused for answer in answers if answer.refused), "")
            text = "\n".join(answer.body["text"] for answer in answers if answer.body.get("text"))
            if not refused and len(answers) > 1 and count_tokens(session, text) >= count_tokens(session, open_[place]):
                refused = "The summaries of its parts are not shorter than the text."
            if refused or len(answers) == 1:
                found[place] = Answer(body={} if refused else {"text": text}, refused=refused)
                del open_[place]
            else:
                open_[place] = text
    return [found[place] for place in range(len(texts))]


def _ended(answer: Answer, sampling: Sampling) -> Answer:
    """With its whole sentences only."""
    if answer.refused:
        return answer
    body = answer.body
    whole = Completion(index=0, text=body["text"], token_ids=(), logprobs=(), finish_reason=body["finish_reason"])
    try:
        return replace(answer, body={"text": whole_sentences(whole, sampling)})
    except ContextLengthExceeded as problem:
        return Answer(body={}, refused=problem.message)
