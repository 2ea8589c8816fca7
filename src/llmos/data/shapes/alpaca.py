"""Alpaca rows: {"instruction", "input", "output", "system", "history"}, with LLaMA-Factory's `tools` beside them.

`query-response` is Data-Juicer's and ms-swift's form of the same: {"system", "instruction", "query", "response", "history"}.
"""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Writing, shapes
from llmos.data.shapes.pairs import INSTRUCTION, InstructionShape, pairs_of
from llmos.data.shapes.records import Conversation, Turn
from llmos.data.shapes.turns import read_tools


@shapes.register("alpaca")
class Alpaca(InstructionShape):
    name = "alpaca"
    record = Conversation
    columns = (*INSTRUCTION, Column("output", "text"))
    answer = "output"

    def read(self, row: Row) -> Conversation:
        extra = self.take(row)
        turns = self.before(row)
        turns += (Turn(role="user", content=self.question(row, extra)), Turn(role="assistant", content=row[self.answer]))
        return Conversation(turns=turns, tools=read_tools(row.get("tools"), "tools"), extra=extra)

    def write(self, record: Conversation, to: Writing) -> Row:
        system, pairs = pairs_of(record.turns, "messages", to)
        question, answer = pairs.pop()
        row, extra = self.ask(question, record.extra)
        row[self.answer] = answer
        self.rest(row, system, pairs, record.tools)
        return self.carry(row, extra)


@shapes.register("query-response")
class QueryResponse(Alpaca):
    name = "query-response"
    columns = (
        Column("query", "text"),
        Column("response", "text"),
        Column("instruction", "text", required=False),
        Column("system", "text", required=False),
        Column("history", "a list of pairs of texts", required=False),
        Column("tools", "a list of tools", required=False),
    )
    second, alone, answer = "query", "query", "response"
