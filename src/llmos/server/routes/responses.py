"""POST /v1/responses: OpenAI's Responses API over `Session.chat`. Stateless: nothing is stored, so nothing can be continued by id.

The item types served are messages, function calls and their outputs; hosted tools are refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.errors import InvalidValue
from llmos.server.fields import Body, only
from llmos.server.messages import MAX_MESSAGES, MAX_TOOLS, Function, StrictTools
from llmos.server.response_events import ResponseWriter
from llmos.server.routes.chat import Metadata, PromptCacheOptions, reasoning
from llmos.server.sampling import MAX_TOP_LOGPROBS, JSONSchema, ResponseFormat, SamplingBody
from llmos.server.scopes import ScopedRouter
from llmos.server.work import EventStream, admitted, note_user, session_for, started, submit_chat, told_of, watched
from llmos.types import Message, Sampling, Tool, ToolCall

router = ScopedRouter(Scope.INFERENCE, tags=["OpenAI"])


class Part(Body):
    refused: ClassVar[dict[str, str]] = {
        "image_url": "no model here reads images",
        "file_id": "no model here reads files",
        "file_data": "no model here reads files",
        "file_url": "no model here reads files",
    }
    type: Literal["input_text", "output_text", "refusal"]
    text: str = ""
    refusal: str = ""
    annotations: list[Any] = Field(default_factory=list, max_length=0)
    logprobs: list[Any] = Field(default_factory=list)


class Item(Body):
    """One input item; which fields belong to which type is checked in `record`."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    id: str | None = None
    status: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None

    def record(self, place: int) -> Message:
        where = f"input[{place}]"
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
        }
        for field in needed[self.type]:
            if getattr(self, field) is None:
                raise InvalidValue(f"{where}.{field} is missing.", param=f"{where}.{field}")
        if self.type == "message":
            assert self.role is not None and self.content is not None
            return Message(role=self.role, content=text_of(self.content))
        assert self.call_id is not None
        if self.type == "function_call":
            assert self.name is not None and self.arguments is not None
            call = ToolCall(id=self.call_id, name=self.name, arguments=self.arguments)
            return Message(role="assistant", tool_calls=(call,))
        assert self.output is not None
        return Message(role="tool", content=text_of(self.output), tool_call_id=self.call_id)


def text_of(content: str | list[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text or part.refusal for part in content)


class ResponseTool(Function):
    """A function; unlike in chat its fields are not nested, and strict is the default."""

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("server_url", "server_label", "vector_store_ids", "container", "search_context_size"), "the server runs no tools itself"
    )
    type: Literal["function"]
    strict: bool = True

    def record(self) -> Tool:
        return Tool(name=self.name, description=self.description, parameters=self.parameters)


class ResponseChoice(Body):
    type: Literal["function"]
    name: str


class Format(JSONSchema):
    type: Literal["text", "json_object", "json_schema"]
    name: str = Field("response", pattern=r"^[A-Za-z0-9_-]{1,64}$")

    def chat_format(self) -> ResponseFormat:
        if self.type != "json_schema":
            return ResponseFormat(type=self.type)
        schema = JSONSchema(name=self.name, schema=self.schema_, description=self.description)
        return ResponseFormat(type="json_schema", json_schema=schema)


class TextConfig(Body):
    format: Format | None = None
    verbosity: str | None = None


class Reasoning(Body):
    refused: ClassVar[dict[str, str]] = dict.fromkeys(("summary", "generate_summary"), "reasoning is not summarised")
    effort: str | None = None


class ResponseStreamOptions(Body):
    include_obfuscation: Literal[False] = False


class ResponseBody(SamplingBody):
    refused: ClassVar[dict[str, str]] = {
        "access_programs": "they belong to OpenAI's accounts",
        "background_options": "answers are given while you wait",
        "context_management": "the conversation is taken as it is sent",
        "conversation": "nothing is stored on the server",
        "image": "no model here draws",
        "max_tool_calls": "the server runs no tools itself",
        "moderation": "no guard model is installed",
        "previous_response_id": "nothing is stored on the server; send the whole conversation",
        "prompt": "no prompt templates are stored on the server",
    }
    model: str = Field(min_length=1, max_length=2048)
    input: str | Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    stream: bool = False
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextConfig = Field(default_factory=TextConfig)
    tools: list[ResponseTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | ResponseChoice = "auto"
    parallel_tool_calls: bool = True
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    include: list[str] = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict, max_length=16)
    reasoning: Reasoning | None = None
    truncation: str | None = None
    background: bool | None = None
    store: bool | None = None
    service_tier: str | None = None
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=128)
    prompt_cache_key: str | None = Field(None, max_length=1024)
    prompt_cache_retention: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None

    def check(self) -> None:
        only("truncation", self.truncation, ("disabled",), "nothing is cut from a conversation")
        only("background", self.background, (False,), "answers are given while you wait")
        only("store", self.store, (False,), "answers are not kept on the server")
        only("service_tier", self.service_tier, ("auto", "default"), "there is one tier")
        only("text.verbosity", self.text.verbosity, ("medium",), "the model decides how much it says")
        only("prompt_cache_retention", self.prompt_cache_retention, ("in_memory",), "prefixes are cached in memory")
        for name in self.include:
            only(
                "include", name, ("message.output_text.logprobs", "reasoning.encrypted_content"), "there is nothing else to include"
            )
        if self.n != 1:
            raise InvalidValue(f"n is {self.n}; a response is one answer.", param="n")
        if self.stream_options is not None and not self.stream:
            raise InvalidValue("stream_options needs stream to be true.", param="stream_options")

    @property
    def logprobs(self) -> bool:
        return self.top_logprobs is not None or "message.output_text.logprobs" in self.include

    def records(self) -> list[Message]:
        opening = [Message(role="system", content=self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*opening, Message(role="user", content=self.input)]
        merged: list[Message] = opening
        for place, item in enumerate(self.input):
            message = item.record(place)
            if message.tool_calls and merged and merged[-1].role == "assistant":
                last = merged.pop()  # calls made in one turn are one message
                message = Message(role="assistant", content=last.content, tool_calls=last.tool_calls + message.tool_calls)
            merged.append(message)
        return merged

    def to_sampling(self) -> Sampling:
        constraint = self.text.format.chat_format().constraint() if self.text.format else None
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return self.sampling(max_tokens=self.max_output_tokens, logprobs=logprobs, constraint=constraint)


@router.post("/v1/responses", response_model=None, summary="Answer, in OpenAI's newer shape")
async def responses(body: ResponseBody, request: Request) -> Response:
    body.check()
    note_user(request, body.safety_identifier or body.user)
    records, sampling, tools = body.records(), body.to_sampling(), [tool.record() for tool in body.tools]
    choice = body.tool_choice if isinstance(body.tool_choice, str) else body.tool_choice.name
    await admitted(request)
    session = await session_for(request, body.model)
    effort = body.reasoning.effort if body.reasoning else None
    extra = reasoning(session, effort) or None
    group = await submit_chat(request, session, records, sampling, stream=body.stream, tools=tools, tool_choice=choice, extra=extra)
    writer = ResponseWriter(
        asked=body.model_dump(mode="json", by_alias=True, exclude_unset=True),
        session=session,
        group=group,
        logprobs=body.logprobs,
        parallel=body.parallel_tool_calls,
        strict=StrictTools(body.tools),
    )
    if body.stream:
        return EventStream(writer.events(await started(request, group)), group.cancel, told_of(session, group))
    [[found]] = await watched(request.receive, group.cancel, group.results())
    return JSONResponse(writer.whole(found), headers=told_of(session, group))
