"""Lines of the OpenAI Batch API: {"custom_id", "method", "url", "body"}, one chat request each."""

from __future__ import annotations

from llmos.data.shapes.base import Column, Row, Shape, Writing, is_messages, shapes
from llmos.data.shapes.records import Conversation
from llmos.data.shapes.turns import read_tools, read_turns, write_turns
from llmos.errors import InvalidValue

_CHAT = "/v1/chat/completions"


@shapes.register("openai-batch")
class OpenAIBatch(Shape):
    """The request around the chat (custom_id, method, url, and the body's model, temperature, …) travels along as columns.

    Rows that never were requests get custom_id "row-<index>" and the model of the option."""

    name = "openai-batch"
    record = Conversation
    columns = (Column("custom_id", "text"), Column("method", "text"), Column("url", "text"), Column("body", "an object"))
    uses = frozenset(("model",))

    def read(self, row: Row) -> Conversation:
        self.take(row)
        if row["url"] != _CHAT or not is_messages(row["body"].get("messages")):
            raise InvalidValue(f"Only requests to {_CHAT} with messages are chats; this one goes to {row['url']}.", param="url")
        body = dict(row["body"])
        turns = read_turns(body.pop("messages"), "body.messages")
        tools = read_tools(body.pop("tools", None), "body.tools")
        return Conversation(turns=turns, tools=tools, extra=row | {"body": body})

    def write(self, record: Conversation, to: Writing) -> Row:
        extra = dict(record.extra)
        body = extra.pop("body", {})
        if not isinstance(body, dict):
            raise InvalidValue("The column 'body' is not that of a request. Rename or drop it first.", param="body")
        body = dict(body)
        if "model" not in body or to.options.model is not None:
            body["model"] = to.need("model", "A request says which model is asked")
        body["messages"] = write_turns(record.turns)
        if record.tools is not None:
            body["tools"] = read_tools(record.tools, "tools")
        row: Row = {
            "custom_id": extra.pop("custom_id", f"row-{to.index}"),
            "method": extra.pop("method", "POST"),
            "url": extra.pop("url", _CHAT),
            "body": body,
        }
        return row | extra
