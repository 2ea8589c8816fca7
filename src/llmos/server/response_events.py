"""The wire form of OpenAI's Responses API: the response object, and the events that build it up.

    created, in_progress, { output_item.added, …delta…, output_item.done }*, completed | incomplete | failed

Events are numbered. What `whole` gives at once is what the last event holds.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from llmos.engine.generation import Completion, Delta
from llmos.engine.session import Session
from llmos.errors import LLMOSError
from llmos.server.messages import StrictTools
from llmos.server.shapes import chat_logprobs, event, finish_of
from llmos.server.work import Group
from llmos.types import TokenLogprob, ToolCall, Usage


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


class ResponseWriter:
    """One response. `asked` is the request as sent, echoed where the API echoes it."""

    def __init__(
        self,
        *,
        asked: dict[str, Any],
        session: Session,
        group: Group,
        logprobs: bool,
        parallel: bool,
        strict: StrictTools,
    ) -> None:
        self.asked, self.session, self.group = asked, session, group
        self.with_logprobs, self.parallel, self.strict = logprobs, parallel, strict
        self.id = group.generations[0].id
        self.created_at = int(time.time())
        self.output: list[dict[str, Any]] = []
        self.number = -1

    def response(self, status: str, *, error: dict[str, Any] | None = None) -> dict[str, Any]:
        over = status in ("completed", "incomplete")
        echoed = {
            name: self.asked.get(name, default)
            for name, default in (
                ("instructions", None),
                ("max_output_tokens", None),
                ("metadata", {}),
                ("parallel_tool_calls", True),
                ("reasoning", None),
                ("temperature", 1.0),
                ("text", {"format": {"type": "text"}}),
                ("tool_choice", "auto"),
                ("tools", []),
                ("top_logprobs", None),
                ("top_p", 1.0),
                ("user", None),
                ("safety_identifier", None),
                ("prompt_cache_key", None),
            )
        }
        return {
            "id": f"resp_{self.id}",
            "object": "response",
            "created_at": self.created_at,
            "completed_at": int(time.time()) if over else None,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self.session.card.name,
            "output": self.output,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "background": False,
            "truncation": "disabled",
            **echoed,
            "usage": usage_of(self.group.usage) if over else None,
        }

    def logprobs(self, entries: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        return chat_logprobs(entries, self.session.tokenizer) if self.with_logprobs else []

    def message(self, status: str, text: str | None, entries: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
        content = [] if text is None else [self.part(text, entries)]
        return {"id": f"msg_{self.id}", "type": "message", "role": "assistant", "status": status, "content": content}

    def part(self, text: str, entries: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs(entries)}

    def call(self, call: ToolCall, status: str = "completed") -> dict[str, Any]:
        return {
            "id": f"fc_{call.id}",
            "type": "function_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments if status == "completed" else "",
        }

    def allowed(self, calls: Sequence[ToolCall]) -> Sequence[ToolCall]:
        self.strict.check(calls)
        if self.parallel:
            return calls
        called = sum(item["type"] == "function_call" for item in self.output)
        return calls[: max(0, 1 - called)]

    def whole(self, found: Completion) -> dict[str, Any]:
        status = "incomplete" if finish_of(found.finish_reason) == "length" else "completed"
        if found.text or not found.tool_calls:
            self.output.append(self.message(status, found.text, found.logprobs))
        self.output += [self.call(call) for call in self.allowed(found.tool_calls)]
        return self.response(status)

    # -- events ------------------------------------------------------------------------------------------------------
    def say(self, name: str, /, **data: Any) -> bytes:
        self.number += 1
        return event({"type": f"response.{name}", "sequence_number": self.number, **data}, f"response.{name}")

    async def events(self, deltas: AsyncIterator[tuple[int, Delta]]) -> AsyncIterator[bytes]:
        yield self.say("created", response=self.response("in_progress"))
        yield self.say("in_progress", response=self.response("in_progress"))
        text: list[str] = []
        entries: list[TokenLogprob] = []
        reason = None
        try:
            async for _, delta in deltas:
                reason = finish_of(delta.finish_reason) or reason
                if delta.text:
                    for line in self._text(delta, opens=not text):
                        yield line
                    text.append(delta.text)
                    entries += delta.logprobs
                if delta.tool_calls:
                    for line in [*self._text_done(text, entries, "completed"), *self._calls(delta.tool_calls)]:
                        yield line
                    text, entries = [], []
            status = "incomplete" if reason == "length" else "completed"
            for line in self._text_done(text, entries, status):
                yield line
            yield self.say(status, response=self.response(status))
        except LLMOSError as error:
            failed = {"code": "server_error", "message": str(error)}
            yield self.say("failed", response=self.response("failed", error=failed))

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self.id}", "output_index": len(self.output), "content_index": 0}

    def _text(self, delta: Delta, *, opens: bool) -> Iterable[bytes]:
        if opens:
            yield self.say("output_item.added", output_index=len(self.output), item=self.message("in_progress", None))
            yield self.say("content_part.added", **self._place(), part=self.part(""))
        yield self.say("output_text.delta", **self._place(), delta=delta.text, logprobs=self.logprobs(delta.logprobs))

    def _text_done(self, text: list[str], entries: list[TokenLogprob], status: str) -> Iterable[bytes]:
        if not text:
            return
        whole = "".join(text)
        yield self.say("output_text.done", **self._place(), text=whole, logprobs=self.logprobs(entries))
        yield self.say("content_part.done", **self._place(), part=self.part(whole, entries))
        item = self.message(status, whole, entries)
        yield self.say("output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)

    def _calls(self, calls: Sequence[ToolCall]) -> Iterable[bytes]:
        for call in self.allowed(calls):
            place = {"item_id": f"fc_{call.id}", "output_index": len(self.output)}
            yield self.say("output_item.added", output_index=len(self.output), item=self.call(call, "in_progress"))
            yield self.say("function_call_arguments.delta", **place, delta=call.arguments)
            yield self.say("function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
            yield self.say("output_item.done", output_index=len(self.output), item=self.call(call))
            self.output.append(self.call(call))
