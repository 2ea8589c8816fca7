"""POST /v1/embeddings. Nothing is truncated: an input past the context is an error with both numbers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.session import Session
from llmos.errors import InvalidValue
from llmos.server.answers import EmbeddingAnswer, documented
from llmos.server.fields import Body
from llmos.server.scopes import ScopedRouter
from llmos.server.work import admitted, blocking, note_user, session_for, told_of
from llmos.types import TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = ScopedRouter(Scope.INFERENCE, tags=["OpenAI"])
MAX_INPUTS = 2048
Ids = Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]


class EmbeddingBody(Body):
    """`long`: "error", or "mean" for the mean over the parts of a text that is longer than the context (an addition of ours)."""

    model: str = Field(min_length=1, max_length=2048)
    input: str | Ids | Annotated[list[str], Field(max_length=MAX_INPUTS)] | Annotated[list[Ids], Field(max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = Field(None, max_length=512)
    long: Literal["error", "mean"] = "error"

    def inputs(self) -> list[str | TokenIds]:
        if isinstance(self.input, str):
            inputs: list[str | TokenIds] = [self.input]
        elif self.input and isinstance(self.input[0], int):
            inputs = [tuple(item for item in self.input if isinstance(item, int))]
        else:
            inputs = [item if isinstance(item, str) else tuple(item) for item in self.input if not isinstance(item, int)]
        if not inputs or "" in inputs:
            raise InvalidValue("input is empty or has an empty text.", param="input")
        return inputs


def counts_of(session: Session, inputs: list[str | TokenIds]) -> list[int]:
    """Tokens of each input; zeros for a remote model, whose tokens are not known here."""
    if session.tokenizer is None:
        return [0] * len(inputs)
    return [len(session.encode(one, add_special=True)) if isinstance(one, str) else len(one) for one in inputs]


@router.post("/v1/embeddings", response_model=None, responses=documented(EmbeddingAnswer), summary="Turn texts into vectors")
async def embeddings(body: EmbeddingBody, request: Request) -> Response:
    inputs = body.inputs()
    note_user(request, body.user)
    await admitted(request)
    session = await session_for(request, body.model)
    vectors = await blocking(lambda: session.embed(inputs, long=body.long))
    counts = await blocking(lambda: counts_of(session, inputs))
    return JSONResponse(content_of(body, session, vectors, sum(counts)), headers=told_of(session))


def content_of(body: EmbeddingBody, session: Session, vectors: NDArray[np.float32], num_tokens: int) -> dict[str, Any]:
    """The answer for vectors [N, D]. Raises InvalidValue when D is not what the body asks for."""
    width = int(vectors.shape[1])
    if body.dimensions not in (None, width):
        raise InvalidValue(
            f"dimensions is {body.dimensions}; the vectors of {session.card.ref} have {width}.",
            param="dimensions",
            hint="Shortening them would change what they mean for this model.",
        )
    data = [
        {
            "object": "embedding",
            "index": place,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
            if body.encoding_format == "base64"
            else row.tolist(),
        }
        for place, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": data, "model": session.card.name, "usage": usage}
