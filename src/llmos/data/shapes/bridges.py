"""From one meaning to another, where that makes sense: a chat becomes text, a preference pair keeps its better answer, …

A bridge is a function of (record, Writing) that says through `Writing.lose` what it leaves behind. There are bridges to a
conversation and from one, and some ways lead through it. What is not here has no meaning: a text has no better answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmos.data.shapes import templates
from llmos.data.shapes.base import Options, Row, Writing
from llmos.data.shapes.parallel import languages
from llmos.data.shapes.prompt_completion import split
from llmos.data.shapes.records import (
    Conversation,
    Exercise,
    Feedback,
    Labelled,
    Parallel,
    PlainText,
    Preference,
    Question,
    Record,
    Summary,
    Tagged,
    Turn,
)
from llmos.data.shapes.turns import leave_keys, leave_tools, plain, read_tools, text_of, write_turns
from llmos.errors import InvalidValue, UnsupportedFeature

Convert = Callable[[Any, Writing], Record]


@dataclass(frozen=True, slots=True)
class Bridge:
    """uses: the options it looks at. needs: those without which no row can be converted."""

    convert: Convert
    uses: frozenset[str]
    needs: tuple[str, ...] = ()


_THROUGH = (PlainText, Exercise, Feedback)  # what anything that can be a chat can become
BRIDGES: dict[tuple[type[Record], type[Record]], Bridge] = {}


def bridge(source: type[Record], target: type[Record], *uses: str, needs: tuple[str, ...] = ()) -> Callable[[Convert], Convert]:
    def add(convert: Convert) -> Convert:
        BRIDGES[source, target] = Bridge(convert, frozenset((*uses, *needs)), needs)
        return convert

    return add


def path(source: type[Record], target: type[Record]) -> list[Bridge]:
    """The bridges to cross, none within one meaning. Raises UnsupportedFeature when there is no way."""
    if source is target:
        return []
    if (source, target) in BRIDGES:
        return [BRIDGES[source, target]]
    if (source, Conversation) in BRIDGES and target in _THROUGH:
        return [BRIDGES[source, Conversation], BRIDGES[Conversation, target]]
    raise UnsupportedFeature(
        f"A {source.__name__} cannot become a {target.__name__}: it does not have what the new rows need.", param="to"
    )


def _chat(question: str, answer: str, extra: Row) -> Conversation:
    return Conversation(turns=[Turn(role="user", content=question), Turn(role="assistant", content=answer)], extra=extra)


def _question_and_answer(record: Conversation, to: Writing) -> tuple[str, str]:
    if len(record.turns) != 2:
        raise InvalidValue(
            f"Only a question and its answer can be converted; there are {len(record.turns)} messages.", param="messages"
        )
    leave_tools(record.tools, to)
    return plain(record.turns[0], "user", "messages[0]", to), plain(record.turns[1], "assistant", "messages[1]", to)


@bridge(Preference, Conversation)
def preference_to_chat(record: Preference, to: Writing) -> Conversation:
    to.lose("rejected", "the rejected answer")
    return Conversation(turns=record.prompt + record.chosen, tools=record.tools, extra=record.extra)


@bridge(Preference, Feedback, needs=("answer",))
def preference_to_feedback(record: Preference, to: Writing) -> Feedback:
    kept = to.options.answer
    if kept not in ("chosen", "rejected"):
        raise InvalidValue(f"It is chosen or rejected, not {kept!r}.", param="answer")
    other = "rejected" if kept == "chosen" else "chosen"
    to.lose(other, f"the {other} answer")
    completion = getattr(record, kept)
    return Feedback(prompt=record.prompt, completion=completion, label=kept == "chosen", tools=record.tools, extra=record.extra)


@bridge(Feedback, Conversation)
def feedback_to_chat(record: Feedback, to: Writing) -> Conversation:
    to.lose("label", "whether the answer is liked")
    return Conversation(turns=record.prompt + record.completion, tools=record.tools, extra=record.extra)


@bridge(Conversation, Feedback, needs=("label",))
def chat_to_feedback(record: Conversation, to: Writing) -> Feedback:
    prompt, completion = split(record.turns, record.prompt_turns)
    if not prompt or not completion:
        raise InvalidValue("Feedback needs a prompt and an answer.", param="messages")
    return Feedback(prompt=prompt, completion=completion, label=bool(to.options.label), tools=record.tools, extra=record.extra)


@bridge(Exercise, Conversation)
def exercise_to_chat(record: Exercise, to: Writing) -> Conversation:
    if not record.answers:
        raise InvalidValue("There is no right answer.", param="ideal")
    if len(record.answers) > 1:
        to.lose("ideal", "all right answers but the first")
    return Conversation(turns=[*record.prompt, Turn(role="assistant", content=record.answers[0])], extra=record.extra)


@bridge(Conversation, Exercise)
def chat_to_exercise(record: Conversation, to: Writing) -> Exercise:
    if len(record.turns) < 2 or record.turns[-1].role != "assistant":
        raise InvalidValue("The last message must be the answer.", param="messages")
    leave_tools(record.tools, to)
    field = f"messages[{len(record.turns) - 1}]"
    return Exercise(prompt=record.turns[:-1], answers=[plain(record.turns[-1], "assistant", field, to)], extra=record.extra)


@bridge(Labelled, Conversation, "template", "label_names", "no_answer")
def labelled_to_chat(record: Labelled, to: Writing) -> Conversation:
    values = {"text": record.text} | ({} if record.pair is None else {"pair": record.pair})
    default = templates.CLASSIFICATION if record.pair is None else templates.PAIR_CLASSIFICATION
    names = [_label(label, to.options) for label in record.labels]
    if not names:
        names = [to.need("no_answer", "The model is to answer something where no label holds")]
    if len(names) > 1 and any(", " in name for name in names):
        to.lose("labels", "the boundaries between labels that contain a comma")
    answer = ", ".join(names)
    return _chat(templates.fill(to.options.template or default, values), answer, record.extra)


def _label(label: object, options: Options) -> str:
    names = options.label_names
    if names is None or isinstance(label, str):
        return str(label)
    if not isinstance(label, int) or not 0 <= label < len(names):
        raise InvalidValue(f"The label {label!r} has none of the {len(names)} names.", param="label")
    return names[label]


@bridge(Conversation, Labelled, "template")
def chat_to_labelled(record: Conversation, to: Writing) -> Labelled:
    """The answer is the label. With the template of the way there, the text is taken out of the question again."""
    question, answer = _question_and_answer(record, to)
    if to.options.template is None:
        return Labelled(text=question, labels=[answer], extra=record.extra)
    values = templates.unfill(to.options.template, question, {"text", "pair"})
    return Labelled(text=values["text"], pair=values.get("pair"), labels=[answer], extra=record.extra)


@bridge(Parallel, Conversation, "template", "source_language", "target_language")
def parallel_to_chat(record: Parallel, to: Writing) -> Conversation:
    template = to.options.template or templates.TRANSLATION
    values = {"source": record.source}
    if "_language}" in template:
        values["source_language"], values["target_language"] = languages(record, to)
    for field in ("source_language", "target_language"):
        if getattr(record, field) and f"{{{field}}}" not in template:
            to.lose(field, "the languages of the translation")
    return _chat(templates.fill(template, values), record.target, record.extra)


@bridge(Conversation, Parallel, "template", "source_language", "target_language")
def chat_to_parallel(record: Conversation, to: Writing) -> Parallel:
    question, answer = _question_and_answer(record, to)
    values = {"source": question}
    if to.options.template is not None:
        values = templates.unfill(to.options.template, question, {"source", "source_language", "target_language"})
    found = Parallel(source=values["source"], target=answer, extra=record.extra)
    for field in ("source_language", "target_language"):
        setattr(found, field, values.get(field) or getattr(to.options, field) or "")
    return found


@bridge(Summary, Conversation, "template")
def summary_to_chat(record: Summary, to: Writing) -> Conversation:
    question = templates.fill(to.options.template or templates.SUMMARY, {"document": record.document})
    return _chat(question, record.summary, record.extra)


@bridge(Conversation, Summary, "template")
def chat_to_summary(record: Conversation, to: Writing) -> Summary:
    question, answer = _question_and_answer(record, to)
    if to.options.template is not None:
        question = templates.unfill(to.options.template, question, {"document"})["document"]
    return Summary(document=question, summary=answer, extra=record.extra)


@bridge(Question, Conversation, "template", "no_answer")
def question_to_chat(record: Question, to: Writing) -> Conversation:
    distinct = list(dict.fromkeys(record.answers)) or [to.need("no_answer", "The model is to answer something")]
    if len(distinct) > 1:
        to.lose("answers", "all answers but the first")
    if record.starts:
        to.lose("answers.answer_start", "where in the context the answers begin")
    values = {"question": record.question} | ({} if record.context is None else {"context": record.context})
    default = templates.QUESTION if record.context is None else templates.CONTEXT_QUESTION
    return _chat(templates.fill(to.options.template or default, values), distinct[0], record.extra)


@bridge(Conversation, Question, "template")
def chat_to_question(record: Conversation, to: Writing) -> Question:
    question, answer = _question_and_answer(record, to)
    if to.options.template is None:
        return Question(question=question, answers=[answer], extra=record.extra)
    values = templates.unfill(to.options.template, question, {"question", "context"})
    return Question(question=values["question"], context=values.get("context"), answers=[answer], extra=record.extra)


@bridge(Conversation, PlainText, needs=("renderer",))
def chat_to_text(record: Conversation, to: Writing) -> PlainText:
    """A model's chat template keeps everything that the model is to see; "plain" has "role: text" in blocks."""
    renderer = to.options.renderer
    if callable(renderer):
        tools = read_tools(record.tools, "tools")
        return PlainText(text=renderer(write_turns(record.turns), tools if isinstance(tools, list) else None), extra=record.extra)
    if renderer != "plain":
        raise InvalidValue(f"It is 'plain' or a function, not {renderer!r}.", param="renderer")
    leave_tools(record.tools, to)
    return PlainText(text="\n\n".join(_block(turn, at, to) for at, turn in enumerate(record.turns)), extra=record.extra)


def _block(turn: Turn, at: int, to: Writing) -> str:
    leave_keys(turn, f"messages[{at}]", to)
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in turn.tool_calls or ()]
    who = turn.role if turn.name is None else f"{turn.role} {turn.name}"
    return "\n".join([f"{who}: {text_of(turn, f'messages[{at}].content', to)}", *calls])


@bridge(Labelled, PlainText)
def labelled_to_text(record: Labelled, to: Writing) -> PlainText:
    to.lose("label", "the label")
    text = record.text if record.pair is None else f"{record.text}\n\n{record.pair}"
    return PlainText(text=text, extra=record.extra)


@bridge(Parallel, PlainText, needs=("side",))
def parallel_to_text(record: Parallel, to: Writing) -> PlainText:
    side = to.options.side
    if side not in ("source", "target"):
        raise InvalidValue(f"It is source or target, not {side!r}.", param="side")
    other = "target" if side == "source" else "source"
    to.lose(other, f"the {other} text")
    return PlainText(text=getattr(record, side), extra=record.extra)


@bridge(Summary, PlainText)
def summary_to_text(record: Summary, to: Writing) -> PlainText:
    to.lose("summary", "the summary")
    return PlainText(text=record.document, extra=record.extra)


@bridge(Tagged, PlainText, needs=("separator",))
def tagged_to_text(record: Tagged, to: Writing) -> PlainText:
    to.lose("tags", "the tags")
    return PlainText(text=str(to.options.separator).join(record.tokens), extra=record.extra)
