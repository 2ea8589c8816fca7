"""The review of a conversation: a verdict on the whole, and for single turns a label, a better answer, or both."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field

from llmos.data.annotate.tasks.base import (
    MAX_TEXT,
    Open,
    ProjectConfig,
    Strict,
    Task,
    by_type,
    known_label,
    quoted,
    studio_result,
    tasks,
    the_one,
)
from llmos.errors import InvalidValue


class Turn(Open):
    """One message, as in a chat."""

    role: str = Field(min_length=1, max_length=64)
    content: str = Field("", max_length=MAX_TEXT)


class ConversationItem(Open):
    messages: list[Turn] = Field(min_length=1, max_length=1024)


class TurnReview(Strict):
    """turn: its place in messages, from 0. text: what it should have been."""

    turn: int = Field(ge=0)
    label: str | None = None
    text: str | None = Field(None, max_length=MAX_TEXT)


class Review(Strict):
    verdict: str
    turns: list[TurnReview] = Field(default_factory=list, max_length=1024)


@tasks.register("conversation")
class Conversation(Task):
    name = "conversation"
    about = "A verdict on a conversation, with labels and corrections of single turns."
    needs_labels = 2
    Item = ConversationItem
    Value = Review
    studio_field = "messages"

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:
        known_label(value.verdict, config, "value.verdict")
        count, seen = len(item["messages"]), set()
        for place, one in enumerate(value.turns):
            where = f"value.turns[{place}]"
            if one.turn >= count:
                said = f"{where}.turn is {one.turn}; the conversation has {count} turns, from 0."
                raise InvalidValue(said, param=f"{where}.turn")
            if one.turn in seen:
                raise InvalidValue(f"{where}: turn {one.turn} is there twice.", param=f"{where}.turn")
            if one.label is None and one.text is None:
                raise InvalidValue(f"{where} has neither a label nor a text.", param=where)
            if one.label is not None:
                known_label(one.label, config, f"{where}.label")
            seen.add(one.turn)
        value.turns.sort(key=lambda one: one.turn)

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return str(value["verdict"])

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        """With the corrections in place of what was said."""
        better = {one["turn"]: one["text"] for one in value["turns"] if one.get("text") is not None}
        messages = [{**turn, "content": better.get(place, turn.get("content", ""))} for place, turn in enumerate(data["messages"])]
        return {**data, "messages": messages, "verdict": value["verdict"], "turns": value["turns"]}

    def studio_tags(self, config: ProjectConfig) -> str:
        listed = "".join(f"<Choice value={quoted(label.name)}/>" for label in config.labels)
        of_turns = "".join(f"<Label value={quoted(label.name)}/>" for label in config.labels)
        return (
            '<Paragraphs name="messages" value="$messages" nameKey="role" textKey="content" layout="dialogue"/>'
            f'<Choices name="verdict" toName="messages" choice="single">{listed}</Choices>'
            f'<ParagraphLabels name="turn" toName="messages">{of_turns}</ParagraphLabels>'
            '<TextArea name="correction" toName="messages" perRegion="true"/>'
        )

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        made = [studio_result("choices", "verdict", "messages", {"choices": [value["verdict"]]})]
        for one in value["turns"]:
            place = {"start": str(one["turn"]), "end": str(one["turn"])}
            if one.get("label") is not None:
                made.append(studio_result("paragraphlabels", "turn", "messages", {**place, "paragraphlabels": [one["label"]]}))
            if one.get("text") is not None:
                made.append(studio_result("textarea", "correction", "messages", {**place, "text": [one["text"]]}))
        return made

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        verdict = the_one([choice for value in by_type(result, "choices") for choice in value.get("choices", [])], "verdicts")
        if verdict is None:
            return None
        turns: dict[int, dict[str, Any]] = {}
        for value in by_type(result, "paragraphlabels"):
            _note(turns, value, "label", the_one(value.get("paragraphlabels", []), "labels of a turn"))
        for value in by_type(result, "textarea"):
            text = value.get("text", [])
            _note(turns, value, "text", text if isinstance(text, str) else "\n".join(map(str, text)))
        return {"verdict": verdict, "turns": [{"turn": turn, **facts} for turn, facts in sorted(turns.items())]}


def _note(turns: dict[int, dict[str, Any]], value: Mapping[str, Any], what: str, said: Any) -> None:
    """One region of Label Studio, which must be one turn. Raises InvalidValue."""
    start, end = value.get("start"), value.get("end")
    if start is None or str(start) != str(end) or what in turns.get(int(start), {}):
        raise InvalidValue(
            f"A {what} is of one turn, and a turn has one; there is another from {start} to {end}.", param="annotations"
        )
    turns.setdefault(int(start), {})[what] = said
