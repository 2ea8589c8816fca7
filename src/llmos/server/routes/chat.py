"""POST /v1/chat/completions: the OpenAI chat API over `Session.chat`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from pydantic import Field, StringConstraints
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.generation import Completion, Delta
from llmos.engine.session import Session
from llmos.errors import InvalidValue, LLMOSError, UnsupportedFeature
from llmos.server import problems
from llmos.server.answers import ChatAnswer, ChatChunk, documented
from llmos.server.fields import Body, only
from llmos.server.messages import MAX_MESSAGES, MAX_TOOLS, ChatMessage, FunctionTool, StrictTools, ToolChoice, choice_of, records
from llmos.server.sampling import MAX_TOP_LOGPROBS, ResponseFormat, SamplingBody, StreamOptions
from llmos.server.scopes import ScopedRouter
from llmos.server.shapes import DONE, chat_logprobs, event, finish_of, tool_calls_of, usage_of
from llmos.server.work import EventStream, Group, admitted, note_user, session_for, started, submit_chat, told_of, watched
from llmos.types import Sampling

router = ScopedRouter(Scope.INFERENCE, tags=["OpenAI"])
Metadata = dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]]


class PromptCacheOptions(Body):
    """Shared prefixes are always found implicitly; how long they stay is the engine's business."""

    refused: ClassVar[dict[str, str]] = {"ttl": "how long a prefix stays cached is not promised"}
    mode: Literal["implicit"] = "implicit"


class ChatBody(SamplingBody):
    """Every documented field of the OpenAI API is here or in `refused`.

    user and safety_identifier reach the log line of the request (as a digest), metadata comes back with the answer, and
    prompt_cache_key needs nothing: every request of a model goes to the one cache there is.
    """

    refused: ClassVar[dict[str, str]] = {
        "audio": "no model here speaks",
        "function_call": "it is deprecated; use tool_choice",
        "functions": "it is deprecated; use tools",
        "moderation": "no guard model is installed",
        "prediction": "predicted outputs are not used for decoding",
        "web_search_options": "the server does not search the web",
    }
    model: str = Field(min_length=1, max_length=2048)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    tools: list[FunctionTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: Metadata = Field(default_factory=dict, max_length=16)
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=128)
    prompt_cache_key: str | None = Field(None, max_length=1024)
    prompt_cache_retention: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None

    def check(self) -> None:
        """Fields that have one meaning here, and pairs that must agree."""
        only("verbosity", self.verbosity, ("medium",), "the model decides how much it says")
        only("modalities", self.modalities, (["text"],), "models here write text")
        only("service_tier", self.service_tier, ("auto", "default"), "there is one tier")
        only("store", self.store, (False,), "answers are not kept on the server")
        only("prompt_cache_retention", self.prompt_cache_retention, ("in_memory",), "prefixes are cached in memory")
        if self.stream_options is not None and not self.stream:
            raise InvalidValue("stream_options needs stream to be true.", param="stream_options")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidValue("top_logprobs needs logprobs to be true.", param="top_logprobs")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise InvalidValue(
                f"max_tokens is {self.max_tokens} and max_completion_tokens is {self.max_completion_tokens}.", param="max_tokens"
            )

    def to_sampling(self) -> Sampling:
        return self.sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            constraint=self.response_format.constraint() if self.response_format else None,
        )


def reasoning(session: Session, effort: str | None) -> dict[str, Any]:
    """Template variables. An effort reaches the model where its template has a place for it; else it is refused."""
    source = session.template.source if session.template else ""
    if effort is None:
        return {}
    if "reasoning_effort" in source:
        return {"reasoning_effort": effort}
    if "enable_thinking" in source:
        return {"enable_thinking": effort != "none"}
    if effort == "none":
        return {}
    raise UnsupportedFeature(f"{session.card.ref} has no way to reason with more or less effort.", param="reasoning_effort")


@router.post(
    "/v1/chat/completions", response_model=None, responses=documented(ChatAnswer, stream=ChatChunk), summary="Answer a chat"
)
async def chat_completions(body: ChatBody, request: Request) -> Response:
    body.check()
    note_user(request, body.safety_identifier or body.user)
    messages, sampling = records(body.messages), body.to_sampling()
    await admitted(request)
    session = await session_for(request, body.model)
    group = await submit_chat(
        request,
        session,
        messages,
        sampling,
        stream=body.stream,
        tools=[tool.record() for tool in body.tools],
        tool_choice=choice_of(body.tool_choice) if body.tool_choice else "auto",
        extra=reasoning(session, body.reasoning_effort) or None,
    )
    answer = Answer(body, session, group, request.url.path)
    if body.stream:
        return EventStream(answer.events(await started(request, group)), group.cancel, told_of(session, group))
    return await answer.whole(request)


class Answer:
    """Writes one chat answer, whole or as events."""

    def __init__(self, body: ChatBody, session: Session, group: Group, path: str) -> None:
        self.body, self.session, self.group, self.path = body, session, group, path
        self.strict = StrictTools([tool.function for tool in body.tools])
        self.called: dict[int, int] = {}  # answer -> tool calls passed on so far

    def head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.group.generations[0].id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.session.card.name,
            "system_fingerprint": self.group.engine,
            **({"service_tier": "default"} if self.body.service_tier else {}),
            **({"metadata": self.body.metadata} if self.body.metadata else {}),
        }

    async def whole(self, request: Request) -> Response:
        [completions] = await watched(request.receive, self.group.cancel, self.group.results())
        return JSONResponse(self.content(completions), headers=told_of(self.session, self.group))

    def content(self, completions: Sequence[Completion]) -> dict[str, Any]:
        choices = []
        for completion in completions:
            calls = completion.tool_calls if self.body.parallel_tool_calls else completion.tool_calls[:1]
            self.strict.check(calls)
            message: dict[str, Any] = {
                "role": "assistant",
                "content": completion.text if completion.text or not calls else None,
                "refusal": None,
            }
            if calls:
                message["tool_calls"] = tool_calls_of(calls)
            logprobs = chat_logprobs(completion.logprobs, self.session.tokenizer) if self.body.logprobs else None
            choices.append(
                {
                    "index": completion.index,
                    "message": message,
                    "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
                    "finish_reason": finish_of(completion.finish_reason),
                }
            )
        return {**self.head("chat.completion"), "choices": choices, "usage": usage_of(self.group.usage)}

    async def events(self, deltas: AsyncIterator[tuple[int, Delta]]) -> AsyncIterator[bytes]:
        head = self.head("chat.completion.chunk")
        with_usage = bool(self.body.stream_options and self.body.stream_options.include_usage)
        extra = {"usage": None} if with_usage else {}
        opened: set[int] = set()
        try:
            async for _, delta in deltas:
                choice = self.choice(delta)
                if delta.index not in opened:
                    opened.add(delta.index)
                    choice["delta"] = {"role": "assistant", "content": "", **choice["delta"]}
                yield event({**head, "choices": [choice], **extra})
        except LLMOSError as error:
            yield event(problems.body_of(error, self.path))
        else:
            if with_usage:
                yield event({**head, "choices": [], "usage": usage_of(self.group.usage)})
            yield DONE

    def choice(self, delta: Delta) -> dict[str, Any]:
        """One chunk's choice."""
        out: dict[str, Any] = {"content": delta.text} if delta.text else {}
        done = self.called.get(delta.index, 0)
        calls = delta.tool_calls if self.body.parallel_tool_calls else delta.tool_calls[: max(0, 1 - done)]
        if calls:
            self.strict.check(calls)
            out["tool_calls"] = [{"index": done + place, **call} for place, call in enumerate(tool_calls_of(calls))]
            self.called[delta.index] = done + len(calls)
        logprobs = chat_logprobs(delta.logprobs, self.session.tokenizer) if self.body.logprobs else None
        return {
            "index": delta.index,
            "delta": out,
            "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
            "finish_reason": finish_of(delta.finish_reason),
        }
