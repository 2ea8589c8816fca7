"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's API as a thin adapter over `Session.chat`.

cache_control marks are accepted and need nothing: shared prefixes are always cached.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.generation import Delta
from llmos.engine.session import Session
from llmos.errors import InvalidValue, LLMOSError, UnsupportedFeature
from llmos.server import problems
from llmos.server.answers import AnthropicError, errors
from llmos.server.fields import Body, checked_schema
from llmos.server.messages import MAX_MESSAGES, MAX_TOOLS
from llmos.server.sampling import MAX_STOP, Stop
from llmos.server.scopes import ScopedRouter
from llmos.server.shapes import event, finish_of
from llmos.server.work import (
    EventStream,
    Group,
    admitted,
    blocking,
    note_user,
    session_for,
    started,
    submit_chat,
    told_of,
    watched,
)
from llmos.types import Message, Sampling, Tool, ToolCall, Usage

router = ScopedRouter(Scope.INFERENCE, tags=["Anthropic"], responses=errors(AnthropicError))
_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class CacheControl(Body):
    type: Literal["ephemeral"]
    ttl: Literal["5m"] = "5m"


class Block(Body):
    """A content block: text, tool_use (of the assistant) or tool_result (of the user)."""

    refused: ClassVar[dict[str, str]] = {
        "source": "no model here reads images or documents",
        "citations": "no citations are written",
    }
    type: Literal["text", "tool_use", "tool_result"]
    text: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = Field(default_factory=dict)
    tool_use_id: str = ""
    content: str | list[Block] = ""
    is_error: bool = False
    cache_control: CacheControl | None = None


class AnthropicMessage(Body):
    role: Literal["user", "assistant"]
    content: str | list[Block]

    def records(self, place: int) -> list[Message]:
        """One Anthropic message can be several of ours: each tool result is one. Raises InvalidValue naming the block."""
        if isinstance(self.content, str):
            return [Message(role=self.role, content=self.content)]
        results, texts, calls = [], [], []
        for number, block in enumerate(self.content):
            wanted = {"tool_use": "assistant", "tool_result": "user"}.get(block.type, self.role)
            if wanted != self.role:
                raise InvalidValue(
                    f"A {block.type} block belongs to the {wanted}, not to the {self.role}.",
                    param=f"messages[{place}].content[{number}]",
                )
            if block.type == "text":
                texts.append(block.text)
            elif block.type == "tool_use":
                calls.append(ToolCall(id=block.id, name=block.name, arguments=json.dumps(block.input)))
            else:
                text = ("Error: " if block.is_error else "") + text_of(block.content)
                results.append(Message(role="tool", content=text, tool_call_id=block.tool_use_id))
        if texts or calls:
            results.append(Message(role=self.role, content="".join(texts), tool_calls=tuple(calls)))
        return results


def text_of(content: str | list[Block]) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content)


class AnthropicTool(Body):
    type: Literal["custom"] = "custom"
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    description: str = ""
    input_schema: dict[str, Any]
    cache_control: CacheControl | None = None

    def record(self) -> Tool:
        schema = checked_schema(self.input_schema, "tools")
        return Tool(name=self.name, description=self.description, parameters=schema)


class AnthropicChoice(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False

    def word(self) -> str:
        if self.type == "tool" and self.name is None:
            raise InvalidValue("tool_choice.name is missing.", param="tool_choice.name")
        return {"any": "required", "tool": self.name or ""}.get(self.type, self.type)


class Thinking(Body):
    type: Literal["disabled"]


class Metadata(Body):
    user_id: str | None = Field(None, max_length=256)


class CountBody(Body):
    refused: ClassVar[dict[str, str]] = {
        "mcp_servers": "the server calls no tools itself",
        "container": "the server runs no code",
        "context_management": "the conversation is taken as it is sent",
        "output_config": "ask /v1/chat/completions with response_format",
        "output_format": "ask /v1/chat/completions with response_format",
        "betas": "no beta features are offered",
    }
    model: str = Field(min_length=1, max_length=2048)
    messages: list[AnthropicMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: str | list[Block] = ""
    tools: list[AnthropicTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: AnthropicChoice | None = None
    thinking: Thinking | None = None

    def records(self) -> list[Message]:
        system = text_of(self.system)
        rest = [record for place, message in enumerate(self.messages) for record in message.records(place)]
        return ([Message(role="system", content=system)] if system else []) + rest


class MessagesBody(CountBody):
    max_tokens: int = Field(ge=1)
    temperature: float = Field(1.0, ge=0, le=1)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    stop_sequences: list[Stop] = Field(default_factory=list, max_length=MAX_STOP)
    stream: bool = False
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] = "auto"

    def sampling(self) -> Sampling:
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=tuple(self.stop_sequences),
        )


@router.post("/v1/messages/count_tokens", response_model=None, summary="Anthropic: tokens of a request")
async def count_tokens(body: CountBody, request: Request) -> Response:
    session = await session_for(request, body.model, load=False)
    if session.tokenizer is None:
        raise UnsupportedFeature(f"{session.card.ref} is remote; its tokens cannot be counted here.", param="model")
    tools = [tool.record() for tool in body.tools]
    count = await blocking(lambda: len(session.chat_ids(body.records(), tools=tools)))
    return JSONResponse({"input_tokens": count})


@router.post("/v1/messages", response_model=None, summary="Anthropic: answer a conversation")
async def messages(body: MessagesBody, request: Request) -> Response:
    note_user(request, body.metadata.user_id if body.metadata else None)
    records, sampling, tools = body.records(), body.sampling(), [tool.record() for tool in body.tools]
    extra = {"continue_final_message": True} if records[-1].role == "assistant" else None
    await admitted(request)
    session = await session_for(request, body.model)
    choice = body.tool_choice.word() if body.tool_choice else "auto"
    group = await submit_chat(request, session, records, sampling, stream=body.stream, tools=tools, tool_choice=choice, extra=extra)
    answer = Answer(body, session, group, request)
    if body.stream:
        return EventStream(answer.events(await started(request, group)), group.cancel, told_of(session, group))
    [[found]] = await watched(request.receive, group.cancel, group.results())
    content: list[dict[str, Any]] = [{"type": "text", "text": found.text}] if found.text else []
    content += [tool_use(call) | {"input": json.loads(call.arguments)} for call in answer.allowed(found.tool_calls)]
    head = {**answer.head(), **ending(finish_of(found.finish_reason), found.stop_text)}
    return JSONResponse({**head, "content": content, "usage": usage_of(group.usage)}, headers=told_of(session, group))


def ending(reason: str | None, stop_text: str | None) -> dict[str, str | None]:
    """Why the answer ended; with a stop sequence, which one. None: it has not ended."""
    if reason == "stop" and stop_text is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": stop_text}
    return {"stop_reason": _STOP[reason] if reason else None, "stop_sequence": None}


def tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def usage_of(usage: Usage) -> dict[str, int]:
    """input_tokens are those that had to be read; the cached ones are beside it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }


class Answer:
    """Writes one message as Anthropic's events; blocks are numbered as they open."""

    def __init__(self, body: MessagesBody, session: Session, group: Group, request: Request) -> None:
        self.body, self.session, self.group = body, session, group
        self.path = request.url.path
        self.called = 0

    def head(self) -> dict[str, Any]:
        return {
            "id": f"msg_{self.group.generations[0].id}",
            "type": "message",
            "role": "assistant",
            "model": self.session.card.name,
        }

    def allowed(self, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
        """With disable_parallel_tool_use the first call of the answer only."""
        if self.body.tool_choice is not None and self.body.tool_choice.disable_parallel_tool_use:
            calls = calls[: max(0, 1 - self.called)]
        self.called += len(calls)
        return calls

    async def events(self, deltas: AsyncIterator[tuple[int, Delta]]) -> AsyncIterator[bytes]:
        usage = usage_of(self.group.usage) | {"output_tokens": 0}
        yield named("message_start", message={**self.head(), **ending(None, None), "content": [], "usage": usage})
        block, in_text = -1, False
        end = ending("stop", None)
        try:
            async for _, delta in deltas:
                if reason := finish_of(delta.finish_reason):
                    end = ending(reason, delta.stop_text)
                if delta.text:
                    if not in_text:
                        block, in_text = block + 1, True
                        yield named("content_block_start", index=block, content_block={"type": "text", "text": ""})
                    yield named("content_block_delta", index=block, delta={"type": "text_delta", "text": delta.text})
                for call in self.allowed(delta.tool_calls):
                    if in_text:
                        in_text = False
                        yield named("content_block_stop", index=block)
                    block += 1
                    yield named("content_block_start", index=block, content_block=tool_use(call))
                    yield named(
                        "content_block_delta", index=block, delta={"type": "input_json_delta", "partial_json": call.arguments}
                    )
                    yield named("content_block_stop", index=block)
            if in_text:
                yield named("content_block_stop", index=block)
            yield named("message_delta", delta=end, usage=usage_of(self.group.usage))
            yield named("message_stop")
        except LLMOSError as error:
            yield event(problems.body_of(error, "/v1/messages"), "error")


def named(name: str, /, **data: Any) -> bytes:
    return event({"type": name, **data}, name)
