"""What a row means, whatever its columns are called: one record for each meaning.

Alpaca's `instruction`/`output` and ShareGPT's `conversations` both say "this was asked, this was answered". A shape reads its rows
into one of these records and writes rows from it, so that thirty shapes need thirty readers and writers and not nine hundred
converters. Columns a shape does not know travel in `extra`, untouched.

`llmos.types.Message` is what an engine is given; a `Turn` is what a file holds: content may be parts, a key may be one nobody
foresaw (`loss_weight`, `reasoning_content`), and all of it must come out again.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

Parts = list[dict[str, Any]]
Tools = list[dict[str, Any]] | str  # OpenAI's list; or the JSON text that a file had in its place, kept as it was


class Turn(Struct, kw_only=True):
    """One message of a chat, in OpenAI's terms. role: system, developer, user, assistant, tool or function (the old name).

    content is UNSET where the key was missing. tool_calls are OpenAI's objects {"id", "type", "function": {"name", "arguments"}}.
    extra has the other keys of the message.
    """

    role: str
    content: str | Parts | UnsetType | None = UNSET
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    extra: dict[str, Any] = {}


class Record(Struct, kw_only=True):
    """Base. extra: the columns that are none of the shape's own, by name."""

    extra: dict[str, Any] = {}


class Conversation(Record):
    """A chat. prompt_turns: how many of the turns are the prompt, where that is not "up to the last message of the user"."""

    turns: list[Turn]
    tools: Tools | None = None
    prompt_turns: int | None = None


class Preference(Record):
    """Two answers to one prompt, the first better."""

    prompt: list[Turn]
    chosen: list[Turn]
    rejected: list[Turn]
    tools: Tools | None = None


class Feedback(Record):
    """One answer to a prompt, and whether somebody liked it (KTO)."""

    prompt: list[Turn]
    completion: list[Turn]
    label: bool
    tools: Tools | None = None


class Exercise(Record):
    """A prompt whose answer can be checked: right is any of `answers`. many: they stood in a list."""

    prompt: list[Turn]
    answers: list[str]
    many: bool = False


class PlainText(Record):
    """A text for language modelling."""

    text: str


class Labelled(Record):
    """A text, or a pair of texts, with its class. many: any number of labels may hold at once."""

    text: str
    labels: list[Any]
    pair: str | None = None
    many: bool = False


class Parallel(Record):
    """A text and its translation. Languages are "" where the row does not say them."""

    source: str
    target: str
    source_language: str = ""
    target_language: str = ""


class Summary(Record):
    """A document and its summary."""

    document: str
    summary: str


class Question(Record):
    """A question and its right answers, none if it has none. context: the text it is about. starts: where in it each begins."""

    question: str
    answers: list[str]
    context: str | None = None
    starts: list[int] | None = None


class Tagged(Record):
    """Words and one tag for each."""

    tokens: list[str]
    tags: list[Any]
