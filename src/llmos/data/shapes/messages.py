"""OpenAI's chat rows: {"messages": [{"role", "content", "tool_calls", …}], "tools": […]}. What everything else is compared with."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Conversation
from llmos.data.shapes.turns import has_roles, read_turns, tools_text, write_turns


@shapes.register("messages")
class Messages(Shape):
    """`tools` may also be the JSON text of a list, as some sets have it; it stays what it was."""

    name = "messages"
    record = Conversation
    columns = (Column("messages", "a list of messages"), Column("tools", "a list of tools", required=False))
    uses = frozenset(("tools_as_text",))

    def fits(self, row: Row) -> bool:
        return super().fits(row) and has_roles(row["messages"])

    def read(self, row: Row) -> Conversation:
        extra = self.take(row)
        return Conversation(turns=read_turns(row["messages"], "messages"), tools=row.get("tools"), extra=extra)

    def write(self, record: Conversation, to: Writing) -> Row:
        row: Row = {"messages": write_turns(record.turns)}
        if record.tools is not None:
            row["tools"] = tools_text(record.tools) if to.options.tools_as_text else record.tools
        return self.carry(row, record.extra)
