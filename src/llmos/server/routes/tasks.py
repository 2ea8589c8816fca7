"""/api/v1/predict, /translate, /summarize: what LLMOS does beyond writing on, for any model family."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.errors import InvalidValue
from llmos.server.answers import PredictAnswer, TextsAnswer, documented
from llmos.server.fields import Body
from llmos.server.routes.library import plain
from llmos.server.sampling import SamplingBody
from llmos.server.scopes import ScopedRouter
from llmos.server.work import admitted, blocking, session_for, told_of

router = ScopedRouter(Scope.INFERENCE, prefix="/api/v1", tags=["Tasks"])
MAX_TEXTS = 1024
Texts = str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]


class PredictBody(Body):
    """labels: names, or a name with its description each. The answer has one prediction a text, in order."""

    model: str = Field(min_length=1, max_length=2048)
    input: Texts
    labels: list[str] | dict[str, str] = Field(min_length=1, max_length=256)
    multi_label: bool = False
    threshold: float = Field(0.5, ge=0, le=1)
    template: str | None = Field(None, max_length=8192)


class TranslateBody(SamplingBody):
    model: str = Field(min_length=1, max_length=2048)
    input: Texts
    target_language: str = Field(min_length=1, max_length=64)
    source_language: str | None = Field(None, max_length=64)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)


class SummarizeBody(SamplingBody):
    model: str = Field(min_length=1, max_length=2048)
    input: Texts
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)


def texts_of(body: PredictBody | TranslateBody | SummarizeBody) -> list[str]:
    return [body.input] if isinstance(body.input, str) else body.input


def _one_answer(body: SamplingBody) -> None:
    if body.n != 1:
        raise InvalidValue(f"n is {body.n}; this route gives one answer a text.", param="n")


@router.post("/predict", response_model=None, responses=documented(PredictAnswer), summary="Which label fits, with probabilities")
async def predict(body: PredictBody, request: Request) -> Response:
    from llmos.engine import scoring

    await admitted(request)
    session = await session_for(request, body.model)
    options: dict[str, Any] = {"multi_label": body.multi_label, "threshold": body.threshold, "template": body.template}
    found = await blocking(lambda: scoring.predict(session, texts_of(body), body.labels, **options))
    return JSONResponse({"model": session.card.name, "predictions": plain(found)}, headers=told_of(session))


@router.post("/translate", response_model=None, responses=documented(TextsAnswer), summary="Translate texts of any length")
async def translate(body: TranslateBody, request: Request) -> Response:
    from llmos.apps import translate as app

    _one_answer(body)
    sampling = body.sampling(max_tokens=body.max_tokens, logprobs=None)
    await admitted(request)
    session = await session_for(request, body.model)
    target, source = body.target_language, body.source_language
    found = await blocking(lambda: app.translate(session, texts_of(body), target, source, sampling=sampling))
    return JSONResponse({"model": session.card.name, "texts": found}, headers=told_of(session))


@router.post("/summarize", response_model=None, responses=documented(TextsAnswer), summary="Summarize texts of any length")
async def summarize(body: SummarizeBody, request: Request) -> Response:
    from llmos.apps import summarise as app

    _one_answer(body)
    sampling = body.sampling(max_tokens=body.max_tokens, logprobs=None)
    await admitted(request)
    session = await session_for(request, body.model)
    found = await blocking(lambda: app.summarize(session, texts_of(body), sampling=sampling))
    return JSONResponse({"model": session.card.name, "texts": found}, headers=told_of(session))
