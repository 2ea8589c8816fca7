"""KTO rows: one answer to a prompt, and whether it is liked.

kto            {"prompt", "completion", "label"} as texts
kto-messages   the same as lists of messages (TRL)
kto-chat       {"messages", "label"}: the last message is what is judged (ms-swift)
kto-sharegpt   {"conversations", "kto_tag"}
kto-alpaca     {"instruction", "input", "output", "kto_tag"}
"""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.pairs import INSTRUCTION, InstructionShape, pairs_of
from llmos.data.shapes.preference import one
from llmos.data.shapes.records import Feedback, Turn
from llmos.data.shapes.sharegpt import TaggedShape
from llmos.data.shapes.turns import has_roles, leave_tools, read_answer, read_tools, read_turns, tools_text, write_turns
from llmos.errors import InvalidValue

_LABEL = Column("label", "true or false")
_TOOLS = Column("tools", "a list of tools", required=False)


def _judged(turns: list[Turn], field: str) -> tuple[list[Turn], list[Turn]]:
    if not turns or turns[-1].role != "assistant":
        raise InvalidValue("The last message must be the answer that is judged.", param=field)
    return turns[:-1], turns[-1:]


def _joined(record: Feedback, to: Writing) -> list[Turn]:
    if len(record.completion) != 1:
        to.lose("completion", f"where the answer of {len(record.completion)} messages begins")
    return record.prompt + record.completion


@shapes.register("kto")
class TextFeedback(Shape):
    name = "kto"
    record = Feedback
    columns = (Column("prompt", "text"), Column("completion", "text"), _LABEL)

    def read(self, row: Row) -> Feedback:
        extra = self.take(row)
        prompt, completion = Turn(role="user", content=row["prompt"]), Turn(role="assistant", content=row["completion"])
        return Feedback(prompt=[prompt], completion=[completion], label=row["label"], extra=extra)

    def write(self, record: Feedback, to: Writing) -> Row:
        leave_tools(record.tools, to)
        row: Row = {"prompt": one(record.prompt, "user", "prompt", to)}
        row["completion"] = one(record.completion, "assistant", "completion", to)
        row["label"] = record.label
        return self.carry(row, record.extra)


@shapes.register("kto-messages")
class MessagesFeedback(Shape):
    name = "kto-messages"
    record = Feedback
    columns = (Column("prompt", "a list of messages"), Column("completion", "a list of messages"), _LABEL, _TOOLS)

    def read(self, row: Row) -> Feedback:
        extra = self.take(row)
        prompt, completion = read_turns(row["prompt"], "prompt"), read_answer(row["completion"], "completion")
        tools = read_tools(row.get("tools"), "tools")
        return Feedback(prompt=prompt, completion=completion, label=row["label"], tools=tools, extra=extra)

    def write(self, record: Feedback, to: Writing) -> Row:
        row: Row = {"prompt": write_turns(record.prompt), "completion": write_turns(record.completion), "label": record.label}
        if record.tools is not None:
            row["tools"] = read_tools(record.tools, "tools")
        return self.carry(row, record.extra)


@shapes.register("kto-chat")
class ChatFeedback(Shape):
    name = "kto-chat"
    record = Feedback
    columns = (Column("messages", "a list of messages"), _LABEL, _TOOLS)

    def fits(self, row: Row) -> bool:
        return super().fits(row) and has_roles(row["messages"])

    def read(self, row: Row) -> Feedback:
        extra = self.take(row)
        prompt, completion = _judged(read_turns(row["messages"], "messages"), "messages")
        tools = read_tools(row.get("tools"), "tools")
        return Feedback(prompt=prompt, completion=completion, label=row["label"], tools=tools, extra=extra)

    def write(self, record: Feedback, to: Writing) -> Row:
        row: Row = {"messages": write_turns(_joined(record, to)), "label": record.label}
        if record.tools is not None:
            row["tools"] = read_tools(record.tools, "tools")
        return self.carry(row, record.extra)


@shapes.register("kto-sharegpt")
class ShareGPTFeedback(TaggedShape):
    name = "kto-sharegpt"
    record = Feedback
    columns = (
        Column("conversations", "a list of messages"),
        Column("kto_tag", "true or false"),
        Column("system", "text", required=False),
        _TOOLS,
    )
    uses = frozenset(("system_column",))

    def fits(self, row: Row) -> bool:
        return super().fits(row) and self.tagged(row)

    def read(self, row: Row) -> Feedback:
        extra = self.take(row)
        prompt, completion = _judged(self.read_prompt(row), self.turns)
        tools = read_tools(row.get("tools"), "tools")
        return Feedback(prompt=prompt, completion=completion, label=row["kto_tag"], tools=tools, extra=extra)

    def write(self, record: Feedback, to: Writing) -> Row:
        row: Row = {"kto_tag": record.label}
        self.write_prompt(row, _joined(record, to), to)
        if record.tools is not None:
            row["tools"] = tools_text(record.tools)
        return self.carry(row, record.extra)


@shapes.register("kto-alpaca")
class AlpacaFeedback(InstructionShape):
    name = "kto-alpaca"
    record = Feedback
    columns = (*INSTRUCTION, Column("output", "text"), Column("kto_tag", "true or false"))

    def read(self, row: Row) -> Feedback:
        extra = self.take(row)
        prompt = [*self.before(row), Turn(role="user", content=self.question(row, extra))]
        completion = [Turn(role="assistant", content=row["output"])]
        tools = read_tools(row.get("tools"), "tools")
        return Feedback(prompt=prompt, completion=completion, label=row["kto_tag"], tools=tools, extra=extra)

    def write(self, record: Feedback, to: Writing) -> Row:
        system, pairs = pairs_of(_joined(record, to), "messages", to)
        question, answer = pairs.pop()
        row, extra = self.ask(question, record.extra)
        row |= {"output": answer, "kto_tag": record.label}
        self.rest(row, system, pairs, record.tools)
        return self.carry(row, extra)
