"""Tokens in the open: /tokenize, /detokenize, /tokenizer_info (as vLLM has them; lm-evaluation-harness uses all three), and the
same under /v1. No engine is loaded for them. Without `model` they mean the server's default model."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.session import Session
from llmos.errors import InvalidValue, UnsupportedFeature
from llmos.server.fields import Body
from llmos.server.messages import MAX_MESSAGES, MAX_TOOLS, ChatMessage, FunctionTool, records
from llmos.server.scopes import ScopedRouter
from llmos.server.work import blocking, session_for, state_of, told_of
from llmos.text.base import Tokenizer

router = ScopedRouter(Scope.INFERENCE, tags=["Tokens"])


class TokenizeBody(Body):
    """`prompt` or `messages`. parse_special reads control tokens written in the prompt as such, as in a rendered template."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = Field(None, max_length=MAX_MESSAGES)
    tools: list[FunctionTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeBody(Body):
    model: str | None = None
    tokens: list[int]


def tokenizer_of(session: Session) -> Tokenizer:
    if session.tokenizer is None:
        raise UnsupportedFeature(f"{session.card.ref} is remote; its tokenizer is not known here.", param="model")
    return session.tokenizer


async def _session(request: Request, model: str | None) -> Session:
    return await session_for(request, model or state_of(request).settings.default_model, load=False)


@router.post("/tokenize", response_model=None, summary="Text or chat to token ids")
@router.post("/v1/tokenize", response_model=None, include_in_schema=False)
async def tokenize(body: TokenizeBody, request: Request) -> Response:
    if (body.prompt is None) == (body.messages is None):
        raise InvalidValue("Give prompt or messages, one of them.", param="prompt")
    session = await _session(request, body.model)
    tokenizer = tokenizer_of(session)

    def work() -> tuple[int, ...]:
        if body.prompt is not None:
            return tokenizer.encode(body.prompt, add_special=body.add_special_tokens, parse_special=True)
        extra = None if body.add_generation_prompt else {"continue_final_message": True}
        return session.chat_ids(records(body.messages or []), tools=[tool.record() for tool in body.tools], extra=extra)

    ids = await blocking(work)
    content: dict[str, Any] = {"tokens": list(ids), "count": len(ids), "max_model_len": session.context_length}
    if body.return_token_strs:
        content["token_strs"] = [tokenizer.token_bytes(token).decode("utf-8", "replace") for token in ids]
    return JSONResponse(content, headers=told_of(session))


@router.post("/detokenize", response_model=None, summary="Token ids to text")
@router.post("/v1/detokenize", response_model=None, include_in_schema=False)
async def detokenize(body: DetokenizeBody, request: Request) -> Response:
    session = await _session(request, body.model)
    tokenizer_of(session)
    text = await blocking(lambda: session.decode(body.tokens, skip_special=False))
    return JSONResponse({"prompt": text}, headers=told_of(session))


@router.get("/tokenizer_info", response_model=None, summary="Special tokens and chat template of a model")
async def tokenizer_info(request: Request, model: str | None = None) -> Response:
    session = await _session(request, model)
    tokenizer = tokenizer_of(session)
    special = tokenizer.special

    def name(token: int | None) -> str | None:
        return None if token is None else tokenizer.token_bytes(token).decode("utf-8", "replace")

    content = {
        "tokenizer_class": "llmos",
        "model": session.card.name,
        "vocab_size": tokenizer.vocab_size,
        "bos_token": name(special.bos),
        "eos_token": name(special.eos[0] if special.eos else None),
        "pad_token": name(special.pad),
        "unk_token": name(special.unk),
        "chat_template": session.template.source if session.template else None,
    }
    return JSONResponse(content, headers=told_of(session))
