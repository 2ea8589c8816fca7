"""ms-swift's ShareGPT: {"system": …, "conversation": [{"human": …, "assistant": …}, …]}, one object a round."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, shapes
from llmos.data.shapes.pairs import pairs_of, turns_of
from llmos.data.shapes.records import Conversation
from llmos.data.shapes.turns import leave_tools
from llmos.errors import InvalidValue


@shapes.register("swift-pairs")
class SwiftPairs(Shape):
    name = "swift-pairs"
    record = Conversation
    columns = (Column("conversation", "a list of messages"), Column("system", "text", required=False))

    def fits(self, row: Row) -> bool:
        return super().fits(row) and all(pair.keys() == {"human", "assistant"} for pair in row["conversation"])

    def read(self, row: Row) -> Conversation:
        extra = self.take(row)
        pairs = []
        for at, pair in enumerate(row["conversation"]):
            if pair.keys() != {"human", "assistant"} or not all(isinstance(text, str) for text in pair.values()):
                raise InvalidValue("A round has the texts human and assistant.", param=f"conversation[{at}]")
            pairs.append((pair["human"], pair["assistant"]))
        return Conversation(turns=turns_of(row.get("system"), pairs), extra=extra)

    def write(self, record: Conversation, to: Writing) -> Row:
        system, pairs = pairs_of(record.turns, "messages", to)
        leave_tools(record.tools, to)
        row: Row = {} if system is None else {"system": system}
        row["conversation"] = [{"human": human, "assistant": answer} for human, answer in pairs]
        return self.carry(row, record.extra)
