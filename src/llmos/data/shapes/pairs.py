"""Chats as rounds of question and answer, which is all that Alpaca's columns and its relatives can hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmos.data.shapes.base import Column, Row, Shape, Writing
from llmos.data.shapes.records import Tools, Turn
from llmos.data.shapes.turns import plain, tools_text
from llmos.errors import InvalidValue

CARRIED = "input"


def turns_of(system: str | None, pairs: Iterable[Iterable[str]]) -> list[Turn]:
    """system, user, assistant, user, assistant, …"""
    turns = [Turn(role="system", content=system)] if system else []
    for question, answer in pairs:
        turns += (Turn(role="user", content=question), Turn(role="assistant", content=answer))
    return turns


def pairs_of(turns: list[Turn], field: str, to: Writing) -> tuple[str | None, list[tuple[str, str]]]:
    """(system, rounds). Raises InvalidValue when the turns are not a system prompt and rounds."""
    system, start = None, 0
    if turns and turns[0].role in ("system", "developer"):
        if turns[0].role == "developer":
            to.lose(f"{field}[0].role", "the role developer (it becomes system)")
        system, start = plain(turns[0], turns[0].role, f"{field}[0]", to), 1
    if len(turns) == start or (len(turns) - start) % 2:
        raise InvalidValue(f"{len(turns) - start} messages do not make rounds of question and answer.", param=field)
    texts = [
        plain(turn, "assistant" if (at - start) % 2 else "user", f"{field}[{at}]", to)
        for at, turn in enumerate(turns[start:], start)
    ]
    return system, list(zip(texts[::2], texts[1::2], strict=True))


class InstructionShape(Shape):
    """What Alpaca and its relatives share: a question in two columns, earlier rounds in `history`, `system` and `tools` apart.

    first, second: the two columns of the question, joined by a line break as trainers join them. So that they can be told apart
    again, a second part travels along as the column `input`. alone: which column holds a question of one part.
    """

    first = "instruction"
    second = "input"
    alone = "instruction"

    def question(self, row: Row, extra: dict[str, Any]) -> str:
        first, second = row.get(self.first) or "", row.get(self.second) or ""
        if first and second:
            extra[CARRIED] = second
            return f"{first}\n{second}"
        return first or second

    def before(self, row: Row) -> list[Turn]:
        """The system prompt and the rounds before the question."""
        system, history = row.get("system"), row.get("history")
        return turns_of(system, history or ()) if system or history else []

    def ask(self, question: str, extra: dict[str, Any]) -> tuple[Row, dict[str, Any]]:
        """The columns of the question, and the columns that are still to be carried."""
        second = extra.get(CARRIED)
        if isinstance(second, str) and second and question.endswith(f"\n{second}"):
            row = {self.first: question[: -len(second) - 1], self.second: second}
            return row, {name: value for name, value in extra.items() if name != CARRIED}
        row = {self.alone: question}
        if self.alone == self.first:
            row[self.second] = ""
        return row, extra

    def rest(self, row: Row, system: str | None, pairs: list[tuple[str, str]], tools: Tools | None) -> None:
        if pairs:
            row["history"] = [list(pair) for pair in pairs]
        if system is not None:
            row["system"] = system
        if tools is not None:
            row["tools"] = tools_text(tools)


INSTRUCTION = (
    Column("instruction", "text"),
    Column("input", "text", required=False),
    Column("system", "text", required=False),
    Column("history", "a list of pairs of texts", required=False),
    Column("tools", "a list of tools", required=False),
)
