"""Preference rows (DPO, reward models): two answers to one prompt.

preference            {"prompt", "chosen", "rejected"} as texts
preference-messages   the same as lists of messages
preference-implicit   {"chosen", "rejected"}: two whole chats that begin alike (TRL's implicit prompt)
preference-binarized  that, with the first question once more in `prompt` (ultrafeedback_binarized)
preference-v1         as implicit, in {"chosen_messages", "rejected_messages"} (LLaMA-Factory v1)
preference-swift      {"messages", "rejected_response"}: a chat that ends with the better answer (ms-swift)
preference-alpaca     {"instruction", "input", "chosen", "rejected"}
preference-sharegpt   {"conversations", "chosen": {"from", "value"}, "rejected": {…}}
"""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.pairs import INSTRUCTION, InstructionShape, pairs_of
from llmos.data.shapes.records import Preference, Turn
from llmos.data.shapes.sharegpt import TaggedShape
from llmos.data.shapes.turns import (
    SWIFT,
    Ids,
    leave_tools,
    plain,
    read_answer,
    read_tagged,
    read_tools,
    read_turns,
    tools_text,
    write_tagged,
    write_turns,
)
from llmos.errors import InvalidValue

_TOOLS = Column("tools", "a list of tools", required=False)
_SYSTEM = Column("system", "text", required=False)


def one(turns: list[Turn], role: str, field: str, to: Writing) -> str:
    """The text of the only turn. Raises InvalidValue when there are more, or it is another's."""
    if len(turns) != 1:
        hint = "Convert to a shape with messages."
        raise InvalidValue(f"One message fits into this column; there are {len(turns)}.", param=field, hint=hint)
    return plain(turns[0], role, f"{field}[0]", to)


@shapes.register("preference")
class TextPreference(Shape):
    name = "preference"
    record = Preference
    columns = (Column("prompt", "text"), Column("chosen", "text"), Column("rejected", "text"))

    def read(self, row: Row) -> Preference:
        extra = self.take(row)
        chosen, rejected = (Turn(role="assistant", content=row[name]) for name in ("chosen", "rejected"))
        return Preference(prompt=[Turn(role="user", content=row["prompt"])], chosen=[chosen], rejected=[rejected], extra=extra)

    def write(self, record: Preference, to: Writing) -> Row:
        leave_tools(record.tools, to)
        row: Row = {"prompt": one(record.prompt, "user", "prompt", to)}
        row["chosen"] = one(record.chosen, "assistant", "chosen", to)
        row["rejected"] = one(record.rejected, "assistant", "rejected", to)
        return self.carry(row, record.extra)


@shapes.register("preference-messages")
class MessagesPreference(Shape):
    name = "preference-messages"
    record = Preference
    columns = (*(Column(name, "a list of messages") for name in ("prompt", "chosen", "rejected")), _TOOLS)

    def read(self, row: Row) -> Preference:
        extra = self.take(row)
        prompt = read_turns(row["prompt"], "prompt")
        chosen, rejected = (read_answer(row[name], name) for name in ("chosen", "rejected"))
        tools = read_tools(row.get("tools"), "tools")
        return Preference(prompt=prompt, chosen=chosen, rejected=rejected, tools=tools, extra=extra)

    def write(self, record: Preference, to: Writing) -> Row:
        row: Row = {name: write_turns(getattr(record, name)) for name in ("prompt", "chosen", "rejected")}
        if record.tools is not None:
            row["tools"] = read_tools(record.tools, "tools")
        return self.carry(row, record.extra)


@shapes.register("preference-implicit")
class ImplicitPreference(Shape):
    """The prompt is what both chats begin with. A `prompt` column that stands beside them is carried along."""

    name = "preference-implicit"
    record = Preference
    chosen, rejected = "chosen", "rejected"
    columns: tuple[Column, ...] = (Column("chosen", "a list of messages"), Column("rejected", "a list of messages"), _TOOLS)

    def fits(self, row: Row) -> bool:
        return super().fits(row) and row[self.chosen][:1] == row[self.rejected][:1] != []

    def read(self, row: Row) -> Preference:
        extra = self.take(row)
        chosen, rejected = read_turns(row[self.chosen], self.chosen), read_turns(row[self.rejected], self.rejected)
        same = next(
            (at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
        )
        if same == 0 or same == len(chosen) or same == len(rejected):
            raise InvalidValue("The two chats must begin with the same messages and end with different ones.", param=self.rejected)
        tools = read_tools(row.get("tools"), "tools")
        return Preference(prompt=chosen[:same], chosen=chosen[same:], rejected=rejected[same:], tools=tools, extra=extra)

    def write(self, record: Preference, to: Writing) -> Row:
        if record.chosen[0] == record.rejected[0]:
            to.lose("chosen", "where the prompt ends (both answers begin alike)")
        row: Row = {self.chosen: write_turns(record.prompt + record.chosen)}
        row[self.rejected] = write_turns(record.prompt + record.rejected)
        if record.tools is not None:
            row["tools"] = read_tools(record.tools, "tools")
        return self.carry(row, record.extra)


@shapes.register("preference-binarized")
class BinarizedPreference(ImplicitPreference):
    name = "preference-binarized"
    columns = (Column("prompt", "text"), *ImplicitPreference.columns)

    def read(self, row: Row) -> Preference:
        record = super().read(row)
        if row["prompt"] != self._asked(record):
            raise InvalidValue("It is not what the first message of the user says.", param="prompt")
        return record

    def write(self, record: Preference, to: Writing) -> Row:
        return {"prompt": self._asked(record)} | super().write(record, to)

    @staticmethod
    def _asked(record: Preference) -> str:
        asked = next((turn.content for turn in record.prompt if turn.role == "user"), None)
        if not isinstance(asked, str):
            raise InvalidValue("There is no message of the user that is a text.", param="prompt")
        return asked


@shapes.register("preference-v1")
class V1Preference(ImplicitPreference):
    name = "preference-v1"
    chosen, rejected = "chosen_messages", "rejected_messages"
    columns = (Column(chosen, "a list of messages"), Column(rejected, "a list of messages"), _TOOLS)


@shapes.register("preference-alpaca")
class AlpacaPreference(InstructionShape):
    name = "preference-alpaca"
    record = Preference
    columns = (*INSTRUCTION, Column("chosen", "text"), Column("rejected", "text"))

    def read(self, row: Row) -> Preference:
        extra = self.take(row)
        prompt = [*self.before(row), Turn(role="user", content=self.question(row, extra))]
        chosen, rejected = (Turn(role="assistant", content=row[name]) for name in ("chosen", "rejected"))
        tools = read_tools(row.get("tools"), "tools")
        return Preference(prompt=prompt, chosen=[chosen], rejected=[rejected], tools=tools, extra=extra)

    def write(self, record: Preference, to: Writing) -> Row:
        answers = {name: one(getattr(record, name), "assistant", name, to) for name in ("chosen", "rejected")}
        system, pairs = pairs_of([*record.prompt, Turn(role="assistant", content="")], "prompt", to)
        row, extra = self.ask(pairs.pop()[0], record.extra)
        row |= answers
        self.rest(row, system, pairs, record.tools)
        return self.carry(row, extra)


@shapes.register("preference-sharegpt")
class ShareGPTPreference(TaggedShape):
    name = "preference-sharegpt"
    record = Preference
    columns = (
        Column("conversations", "a list of messages"),
        Column("chosen", "an object"),
        Column("rejected", "an object"),
        _SYSTEM,
        _TOOLS,
    )
    uses = frozenset(("system_column",))

    def fits(self, row: Row) -> bool:
        return super().fits(row) and self.tagged(row)

    def read(self, row: Row) -> Preference:
        extra = self.take(row)
        prompt = self.read_prompt(row)
        answers = {name: read_tagged([row[name]], self.tags, name, Ids.after(prompt)) for name in ("chosen", "rejected")}
        return Preference(prompt=prompt, tools=read_tools(row.get("tools"), "tools"), extra=extra, **answers)

    def write(self, record: Preference, to: Writing) -> Row:
        row: Row = {}
        self.write_prompt(row, record.prompt, to)
        for name in ("chosen", "rejected"):
            answer = write_tagged(getattr(record, name), self.tags, name, to, Ids.after(record.prompt))
            if len(answer) != 1:
                raise InvalidValue(f"One message fits into this column; there are {len(answer)}.", param=name)
            row[name] = answer[0]
        if record.tools is not None:
            row["tools"] = tools_text(record.tools)
        return self.carry(row, record.extra)


@shapes.register("preference-swift")
class SwiftPreference(TaggedShape):
    name = "preference-swift"
    record = Preference
    columns = (Column("messages", "a list of messages"), Column("rejected_response", "text"), _SYSTEM, _TOOLS)
    uses = frozenset(("system_column",))
    tags = SWIFT
    turns = "messages"

    def read(self, row: Row) -> Preference:
        extra = self.take(row)
        turns = self.read_prompt(row)
        if not turns or turns[-1].role != "assistant":
            raise InvalidValue("The messages must end with the better answer.", param="messages")
        rejected = [Turn(role="assistant", content=row["rejected_response"])]
        tools = read_tools(row.get("tools"), "tools")
        return Preference(prompt=turns[:-1], chosen=turns[-1:], rejected=rejected, tools=tools, extra=extra)

    def write(self, record: Preference, to: Writing) -> Row:
        row: Row = {"rejected_response": one(record.rejected, "assistant", "rejected", to)}
        if len(record.chosen) != 1:
            raise InvalidValue(f"One message is the better answer here; there are {len(record.chosen)}.", param="chosen")
        self.write_prompt(row, record.prompt + record.chosen, to)
        if record.tools is not None:
            row["tools"] = tools_text(record.tools)
        return self.carry(row, record.extra)
