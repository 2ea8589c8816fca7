"""{"prompt", "completion"}: as texts, and as two lists of messages. A row may be a prompt alone (TRL's prompt-only sets)."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.records import Conversation, Turn
from llmos.data.shapes.turns import has_roles, leave_tools, plain, read_tools, read_turns, write_turns
from llmos.errors import InvalidValue


@shapes.register("prompt-completion")
class PromptCompletion(Shape):
    """One question, one answer. A chat of more turns belongs into prompt-completion-messages."""

    name = "prompt-completion"
    record = Conversation
    columns = (Column("prompt", "text"), Column("completion", "text", required=False))

    def read(self, row: Row) -> Conversation:
        extra = self.take(row)
        turns = [Turn(role="user", content=row["prompt"])]
        if row.get("completion") is not None:
            turns.append(Turn(role="assistant", content=row["completion"]))
        return Conversation(turns=turns, extra=extra)

    def write(self, record: Conversation, to: Writing) -> Row:
        if not 1 <= len(record.turns) <= 2:
            raise InvalidValue(
                f"A prompt and a completion hold 2 messages; there are {len(record.turns)}.",
                param="messages",
                hint="Convert to prompt-completion-messages.",
            )
        leave_tools(record.tools, to)
        row: Row = {"prompt": plain(record.turns[0], "user", "messages[0]", to)}
        if len(record.turns) == 2:
            row["completion"] = plain(record.turns[1], "assistant", "messages[1]", to)
        return self.carry(row, record.extra)


def split(turns: list[Turn], at: int | None = None) -> tuple[list[Turn], list[Turn]]:
    """Prompt and answer: the answer is what follows the last turn that is neither the model's nor a tool's."""
    if at is None:
        at = next((place for place in range(len(turns), 0, -1) if turns[place - 1].role not in ("assistant", "tool")), 0)
    return turns[:at], turns[at:]


@shapes.register("prompt-completion-messages")
class PromptCompletionMessages(Shape):
    name = "prompt-completion-messages"
    record = Conversation
    columns = (
        Column("prompt", "a list of messages"),
        Column("completion", "a list of messages", required=False),
        Column("tools", "a list of tools", required=False),
    )

    def fits(self, row: Row) -> bool:
        return super().fits(row) and has_roles(row["prompt"])

    def read(self, row: Row) -> Conversation:
        extra = self.take(row)
        prompt = read_turns(row["prompt"], "prompt")
        turns = prompt + read_turns(row.get("completion") or [], "completion")
        boundary = len(prompt) if len(split(turns)[0]) != len(prompt) else None
        return Conversation(turns=turns, prompt_turns=boundary, tools=read_tools(row.get("tools"), "tools"), extra=extra)

    def write(self, record: Conversation, to: Writing) -> Row:
        prompt, completion = split(record.turns, record.prompt_turns)
        row: Row = {"prompt": write_turns(prompt)}
        if completion:
            row["completion"] = write_turns(completion)
        if record.tools is not None:
            row["tools"] = read_tools(record.tools, "tools")
        return self.carry(row, record.extra)
