"""POST /v1/moderations. It needs a guard model; while none can be installed it says so, and never calls a text harmless."""

from __future__ import annotations

from fastapi import Request
from pydantic import Field

from llmos.access.base import Scope
from llmos.server.fields import Body
from llmos.server.problems import Refused
from llmos.server.scopes import ScopedRouter

router = ScopedRouter(Scope.INFERENCE, tags=["OpenAI"])


class ModerationBody(Body):
    input: str | list[str] = Field(min_length=1)
    model: str | None = None


@router.post("/v1/moderations", response_model=None, summary="Not served yet: 501", status_code=501)
async def moderations(body: ModerationBody, request: Request) -> None:
    raise Refused(
        501,
        "no_guard_model",
        "This server has no guard model, so it cannot say whether a text is harmful.",
        param="model" if body.model else None,
        hint="Ask /v1/systemone with your own criteria, which any model answers.",
    )
