"""ShareGPT rows as LLaMA-Factory has them: {"conversations": [{"from", "value"}], "system", "tools"}; `tools` is JSON text.

`swift` is the same idea under OpenAI's key names with tool calls as turns of their own: ms-swift's standard rows.
"""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Conversation, Turn
from llmos.data.shapes.turns import SHAREGPT, SWIFT, Tags, read_tagged, read_tools, tools_text, write_tagged


class TaggedShape(Shape):
    """What shapes with tagged messages share. `tags` can be replaced: see mapping.py."""

    tags: Tags = SHAREGPT
    turns: str = "conversations"

    def with_tags(self, tags: Tags) -> TaggedShape:
        new = type(self)()
        new.__dict__.update(self.__dict__, tags=tags)
        return new

    def read_prompt(self, row: Row) -> list[Turn]:
        turns = read_tagged(row[self.turns], self.tags, self.turns)
        system = row.get("system")
        return [Turn(role="system", content=system), *turns] if system else turns

    def write_prompt(self, row: Row, turns: list[Turn], to: Writing) -> None:
        """Puts the turns into the row; the system prompt into its column when the option says so."""
        first = turns[0] if turns else None
        if to.options.system_column and first is not None and first.role == "system" and isinstance(first.content, str):
            row["system"] = first.content
            turns = turns[1:]
        row[self.turns] = write_tagged(turns, self.tags, self.turns, to)

    def tagged(self, row: Row) -> bool:
        """Whether the messages carry these tags."""
        tags = self.tags
        return all(
            isinstance(tag := message.get(tags.role_tag), str) and tag in tags.roles and tags.content_tag in message
            for message in row[self.turns]
        )


@shapes.register("sharegpt")
class ShareGPT(TaggedShape):
    name = "sharegpt"
    record = Conversation
    columns = (
        Column("conversations", "a list of messages"),
        Column("system", "text", required=False),
        Column("tools", "a list of tools", required=False),
    )
    uses = frozenset(("system_column",))

    def fits(self, row: Row) -> bool:
        return super().fits(row) and self.tagged(row)

    def read(self, row: Row) -> Conversation:
        extra = self.take(row)
        return Conversation(turns=self.read_prompt(row), tools=read_tools(row.get("tools"), "tools"), extra=extra)

    def write(self, record: Conversation, to: Writing) -> Row:
        row: Row = {}
        self.write_prompt(row, record.turns, to)
        if record.tools is not None:
            row["tools"] = tools_text(record.tools)
        return self.carry(row, record.extra)


@shapes.register("swift")
class Swift(ShareGPT):
    """ms-swift: roles tool_call and tool_response. Rows without such a turn are those of `messages`."""

    name = "swift"
    columns = (
        Column("messages", "a list of messages"),
        Column("system", "text", required=False),
        Column("tools", "a list of tools", required=False),
    )
    tags = SWIFT
    turns = "messages"
    yields_to = "messages"
