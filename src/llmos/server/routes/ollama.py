"""Ollama's API as a thin adapter: /api/generate, /api/chat, /api/embed, /api/tags, /api/show, /api/ps, /api/version.

Streams are JSON lines and the default, as there. Sampling starts from Ollama's documented values (temperature 0.8, top_k 40,
top_p 0.9); options that LLMOS cannot honour are refused by name.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

import llmos
from llmos.access.base import Scope
from llmos.engine.generation import Delta, Generation
from llmos.engine.session import Session
from llmos.errors import InvalidValue, LLMOSError, UnsupportedFeature
from llmos.library.base import ModelCard
from llmos.server import problems
from llmos.server.answers import OllamaError, errors
from llmos.server.fields import Body, checked_schema
from llmos.server.messages import MAX_MESSAGES, MAX_TOOLS, Function
from llmos.server.problems import Refused
from llmos.server.routes.library import loaded_for
from llmos.server.scopes import ScopedRouter
from llmos.server.shapes import finish_of
from llmos.server.work import (
    EventStream,
    admitted,
    blocking,
    caller_of,
    library_of,
    session_for,
    started,
    state_of,
    submit,
    told_of,
    watched,
)
from llmos.settings import parse_seconds
from llmos.types import Constraint, Message, Sampling, Tool, ToolCall

router = ScopedRouter(Scope.INFERENCE, prefix="/api", tags=["Ollama"], responses=errors(OllamaError))
_MACHINE = "it sets up the server, not a request"


class Options(Body):
    refused: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("num_gpu", "main_gpu", "num_thread", "num_batch", "use_mmap", "use_mlock", "numa", "low_vram"), _MACHINE),
        **dict.fromkeys(
            ("mirostat", "mirostat_eta", "mirostat_tau", "tfs_z", "typical_p", "repeat_last_n", "num_keep"), "not offered"
        ),
    }
    temperature: float = Field(0.8, ge=0, le=2)
    top_k: int = Field(40, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    seed: int | None = None
    stop: str | list[str] = Field(default_factory=list)
    num_predict: int = Field(-1, ge=-1)
    num_ctx: int | None = Field(None, ge=1)
    repeat_penalty: float = Field(1.0, ge=0.01, le=10)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)


class OllamaBody(Body):
    """What generate and chat share. format: "json" or a JSON schema."""

    refused: ClassVar[dict[str, str]] = {
        "template": "a template comes with its model, never from a request",
        "context": "it is deprecated; send messages to /api/chat",
        "suffix": "no model here was trained to fill in the middle",
        "images": "no model here reads images",
        "logprobs": "ask /v1/chat/completions for them",
        "top_logprobs": "ask /v1/chat/completions for them",
    }
    model: str = Field(min_length=1, max_length=2048)
    stream: bool = True
    format: Literal["json", ""] | dict[str, Any] | None = None
    options: Options = Field(default_factory=Options)
    keep_alive: float | str | None = None
    think: bool | None = None

    def keep_alive_s(self) -> float | None:
        """Seconds; a number or a text such as "5m". Negative stays loaded."""
        if self.keep_alive is None:
            return None
        try:
            seconds = parse_seconds(self.keep_alive) if isinstance(self.keep_alive, str) else self.keep_alive
        except ValueError:
            raise InvalidValue(f"keep_alive is {self.keep_alive!r}; write 300, '5m' or -1.", param="keep_alive") from None
        return -1.0 if seconds < 0 else seconds

    def sampling(self, session: Session) -> Sampling:
        if self.think:
            raise UnsupportedFeature("think is not offered for this model.", param="think")
        options = self.options
        if options.num_ctx and session.context_length and options.num_ctx > session.context_length:
            raise InvalidValue(
                f"num_ctx is {options.num_ctx}; {session.card.ref} is loaded with {session.context_length}.",
                param="options.num_ctx",
                hint="Set LLMOS_CONTEXT_LENGTH for the server.",
            )
        constraint = None
        if self.format == "json":
            constraint = Constraint(kind="json_object")
        elif isinstance(self.format, dict):
            constraint = Constraint(kind="json_schema", value=checked_schema(self.format, "format"))
        return Sampling(
            max_tokens=options.num_predict if options.num_predict > 0 else None,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            seed=options.seed,
            stop=(options.stop,) if isinstance(options.stop, str) else tuple(options.stop),
            repetition_penalty=options.repeat_penalty,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            constraint=constraint,
        )


class GenerateBody(OllamaBody):
    prompt: str = ""
    system: str = ""
    raw: bool = False


class OllamaFunction(Body):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class OllamaCall(Body):
    id: str = ""
    function: OllamaFunction


class OllamaMessage(Body):
    refused: ClassVar[dict[str, str]] = {"images": "no model here reads images"}
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str = ""
    tool_calls: list[OllamaCall] = Field(default_factory=list)
    tool_name: str | None = None
    tool_call_id: str | None = None

    def record(self, place: int) -> Message:
        calls = tuple(
            ToolCall(id=call.id or f"call_{place}_{n}", name=call.function.name, arguments=json.dumps(call.function.arguments))
            for n, call in enumerate(self.tool_calls)
        )
        return Message(role=self.role, content=self.content, name=self.tool_name, tool_calls=calls, tool_call_id=self.tool_call_id)


class OllamaTool(Body):
    type: Literal["function"]
    function: Function


class OllamaChatBody(OllamaBody):
    messages: list[OllamaMessage] = Field(default_factory=list, max_length=MAX_MESSAGES)
    tools: list[OllamaTool] = Field(default_factory=list, max_length=MAX_TOOLS)


class EmbedBody(Body):
    refused: ClassVar[dict[str, str]] = {
        "options": "nothing about an embedding can be chosen",
        "dimensions": "vectors are not shortened",
    }
    model: str = Field(min_length=1, max_length=2048)
    input: str | list[str]
    truncate: bool = False
    keep_alive: float | str | None = None


class ShowBody(Body):
    model: str = Field(min_length=1, max_length=2048)
    verbose: bool = False


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@router.post("/generate", response_model=None, summary="Ollama: answer a prompt")
async def generate(body: GenerateBody, request: Request) -> Response:
    def start(session: Session, sampling: Sampling, deadline_s: float) -> Generation:
        if body.raw or not session.chats:
            if body.system:
                raise InvalidValue("system needs a chat template: not with raw, nor for this model.", param="system")
            return session.complete(body.prompt, sampling, deadline_s=deadline_s, stream=body.stream)
        system = [Message(role="system", content=body.system)] if body.system else []
        messages = [*system, Message(role="user", content=body.prompt)]
        return session.chat(messages, sampling, deadline_s=deadline_s, stream=body.stream)

    return await _answer(body, request, start if body.prompt else None, lambda delta: {"response": delta.text})


@router.post("/chat", response_model=None, summary="Ollama: answer a chat")
async def chat(body: OllamaChatBody, request: Request) -> Response:
    messages = [message.record(place) for place, message in enumerate(body.messages)]
    tools = [
        Tool(name=tool.function.name, description=tool.function.description, parameters=tool.function.parameters)
        for tool in body.tools
    ]

    def start(session: Session, sampling: Sampling, deadline_s: float) -> Generation:
        return session.chat(messages, sampling, tools=tools, deadline_s=deadline_s, stream=body.stream)

    return await _answer(body, request, start if messages else None, _chat_part)


def _chat_part(delta: Delta) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": delta.text}
    if delta.tool_calls:
        message["tool_calls"] = [{"function": {"name": c.name, "arguments": json.loads(c.arguments)}} for c in delta.tool_calls]
    return {"message": message}


Start = Callable[[Session, Sampling, float], Generation]


async def _answer(body: OllamaBody, request: Request, start: Start | None, part: Callable[[Delta], dict[str, Any]]) -> Response:
    """The answer, or without `start` the loading of the model (keep_alive 0: its unloading), which Ollama asks for so."""
    begun = time.perf_counter_ns()
    if start is None and body.keep_alive_s() == 0:
        pool = state_of(request).pool
        if not caller_of(request).everywhere:
            raise Refused(
                403, "scope_missing", "Unloading a model takes it from others too; that needs a key with the scope 'admin'."
            )
        await blocking(lambda: pool.unload(body.model))
        return JSONResponse({"model": body.model, "created_at": now(), **part(Delta()), "done": True, "done_reason": "unload"})
    await admitted(request)
    session = await session_for(request, body.model, keep_alive_s=body.keep_alive_s())
    if start is None:
        return JSONResponse({"model": body.model, "created_at": now(), **part(Delta()), "done": True, "done_reason": "load"})
    sampling, deadline_s = body.sampling(session), state_of(request).settings.request_deadline_s
    loaded = time.perf_counter_ns()
    group = await submit(request, lambda: [start(session, sampling, deadline_s)])
    head = {"model": body.model}

    def last(reason: str | None) -> dict[str, Any]:
        usage, end = group.usage, time.perf_counter_ns()
        return {
            "done": True,
            "done_reason": "stop" if reason == "tool_calls" else reason,
            "total_duration": end - begun,
            "load_duration": loaded - begun,
            "prompt_eval_count": usage.prompt_tokens,
            "eval_count": usage.completion_tokens,
            "eval_duration": end - loaded,
        }

    if not body.stream:
        [[found]] = await watched(request.receive, group.cancel, group.results())
        whole = part(Delta(text=found.text, tool_calls=found.tool_calls))
        return JSONResponse({**head, "created_at": now(), **whole, **last(finish_of(found.finish_reason))})
    lines = _lines(await started(request, group), head, part, last, request.url.path)
    return EventStream(lines, group.cancel, told_of(session, group), media_type="application/x-ndjson")


async def _lines(
    deltas: AsyncIterator[tuple[int, Delta]],
    head: dict[str, Any],
    part: Callable[[Delta], dict[str, Any]],
    last: Callable[[str | None], dict[str, Any]],
    path: str,
) -> AsyncIterator[bytes]:
    reason = None
    try:
        async for _, delta in deltas:
            reason = finish_of(delta.finish_reason) or reason
            if delta.text or delta.tool_calls:
                yield json.dumps({**head, "created_at": now(), **part(delta), "done": False}).encode() + b"\n"
        yield json.dumps({**head, "created_at": now(), **part(Delta()), **last(reason)}).encode() + b"\n"
    except LLMOSError as error:
        yield json.dumps(problems.body_of(error, path)).encode() + b"\n"


@router.post("/embed", response_model=None, summary="Ollama: turn texts into vectors")
async def embed(body: EmbedBody, request: Request) -> Response:
    if body.truncate:
        raise UnsupportedFeature("truncate is true; nothing is cut here.", param="truncate", hint="Send shorter texts.")
    begun = time.perf_counter_ns()
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts:
        raise InvalidValue("input is empty.", param="input")
    await admitted(request)
    session = await session_for(request, body.model)
    vectors = await blocking(lambda: session.embed(texts))
    count = await blocking(lambda: sum(len(session.encode(text, add_special=True)) for text in texts))
    content = {"model": body.model, "embeddings": vectors.tolist(), "prompt_eval_count": count}
    return JSONResponse({**content, "total_duration": time.perf_counter_ns() - begun}, headers=told_of(session))


def _details(card: ModelCard) -> dict[str, Any]:
    return {
        "parent_model": card.parent or "",
        "format": card.format,
        "family": card.architecture,
        "families": [card.architecture],
        "parameter_size": f"{card.parameters / 1e6:.0f}M",
        "quantization_level": card.quantization,
    }


@router.get("/tags", response_model=None, summary="Ollama: models in the library")
async def tags(request: Request) -> Response:
    library = library_of(request)
    cards = await blocking(lambda: list(library.list()))
    return JSONResponse(
        {
            "models": [
                {
                    "name": card.name,
                    "model": card.name,
                    "modified_at": card.created_at,
                    "size": card.size_bytes,
                    "digest": card.version,
                    "details": _details(card),
                }
                for card in cards
            ]
        }
    )


@router.post("/show", response_model=None, summary="Ollama: one model")
async def show(body: ShowBody, request: Request) -> Response:
    session = await session_for(request, body.model, load=False)
    card = session.card
    info = {
        "general.architecture": card.architecture,
        "general.parameter_count": card.parameters,
        f"{card.architecture}.context_length": card.context_length,
    }
    able = {"generate": "completion", "chat": "completion", "embed": "embedding"}
    capabilities = {able[task.value] for task in card.tasks if task.value in able}
    if session.template is not None and session.template.supports_tools:
        capabilities.add("tools")
    return JSONResponse(
        {
            "license": card.licence,
            "template": session.template.source if session.template else "",
            "details": _details(card),
            "model_info": info,
            "capabilities": sorted(capabilities),
            "modified_at": card.created_at,
        }
    )


@router.get("/ps", response_model=None, summary="Ollama: models in memory")
async def ps(request: Request) -> Response:
    found = await blocking(lambda: loaded_for(request))
    return JSONResponse(
        {
            "models": [
                {
                    "name": info.name,
                    "model": info.name,
                    "size": info.memory_bytes,
                    "size_vram": 0,
                    "digest": info.version,
                    "context_length": info.context_length,
                    "details": {"family": info.engine, "format": info.variant},
                }
                for info in found
            ]
        }
    )


@router.get("/version", response_model=None, summary="Ollama: version of this server")
async def version() -> Response:
    return JSONResponse({"version": llmos.__version__})
