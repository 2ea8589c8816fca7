"""POST /v1/rerank (and /rerank, /v2/rerank): documents by relevance to a query, in the shape that Cohere and Jina clients know."""

from __future__ import annotations

from typing import ClassVar

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.server.answers import RerankAnswer, documented
from llmos.server.fields import Body
from llmos.server.scopes import ScopedRouter
from llmos.server.work import admitted, blocking, session_for, told_of

router = ScopedRouter(Scope.INFERENCE, tags=["Rerank"])


class TextDocument(Body):
    text: str


class RerankBody(Body):
    refused: ClassVar[dict[str, str]] = {
        "rank_fields": "documents have one text",
        "max_chunks_per_doc": "documents are never cut",
        "max_tokens_per_doc": "documents are never cut",
        "truncation": "documents are never cut",
    }
    model: str = Field(min_length=1, max_length=2048)
    query: str = Field(min_length=1)
    documents: list[str | TextDocument] = Field(min_length=1, max_length=1000)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


@router.post(
    "/v1/rerank", response_model=None, responses=documented(RerankAnswer), summary="Order documents by relevance to a query"
)
@router.post("/v2/rerank", response_model=None, include_in_schema=False)
@router.post("/rerank", response_model=None, include_in_schema=False)
async def rerank(body: RerankBody, request: Request) -> Response:
    from llmos.apps import rerank as app

    documents = [item if isinstance(item, str) else item.text for item in body.documents]
    await admitted(request)
    session = await session_for(request, body.model)
    found = await blocking(lambda: app.rerank(session, body.query, documents, top_n=body.top_n))
    results = [
        {
            "index": item.index,
            "relevance_score": item.score,
            **({"document": {"text": documents[item.index]}} if body.return_documents else {}),
        }
        for item in found
    ]
    content = {"id": request.state.request_id, "model": session.card.name, "results": results}
    return JSONResponse(content, headers=told_of(session))
